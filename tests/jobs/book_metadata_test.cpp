// What a job says about its book comes before what the document says.
#include "jobs/book_metadata.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

TEST(BookMetadata, ComesBeforeTheDocuments) {
  Document document;
  document.series = "Coast";
  document.series_index = "2";
  document.publisher = "Shore Press";
  document.year = "1912";
  apply({.publisher = "Other Press", .description = "About."}, document);
  EXPECT_EQ(document.series, "Coast");
  EXPECT_EQ(document.series_index, "2");
  EXPECT_EQ(document.publisher, "Other Press");
  EXPECT_EQ(document.year, "1912");
  EXPECT_EQ(document.description, "About.");
  apply({.series = "Hills"}, document);
  EXPECT_EQ(document.series, "Hills");
  EXPECT_EQ(document.series_index, "") << "its place was in the other series";
}

TEST(BookMetadata, FindsTheIsbn) {
  EXPECT_EQ(isbn_of({.isbn = "978-0-00-000000-2"}, "urn:isbn:1111111111111"), "9780000000002");
  EXPECT_EQ(isbn_of({}, "URN:ISBN:9780000000002"), "9780000000002");
  EXPECT_EQ(isbn_of({}, "0-306-40615-x"), "030640615X");
  EXPECT_EQ(isbn_of({}, "urn:uuid:12345678-1234-1234-1234-123456789012"), "");
  EXPECT_EQ(isbn_of({}, ""), "");
}

} // namespace
} // namespace audiobookd::jobs
