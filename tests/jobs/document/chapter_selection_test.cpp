// Lists of chapters, and what is left of a document.
#include "jobs/document/chapter_selection.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using Ranges = std::vector<ChapterRange>;

std::string fault(const std::string& text) {
  try {
    (void)parse_chapter_ranges(text);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

Document five_chapters() {
  Document document;
  document.title = "A Tale";
  for (const char* title : {"", "Two", "", "Four", "Five"}) {
    document.chapters.push_back({title, {{"x"}}});
  }
  return document;
}

std::string selected(const std::string& text) {
  Document document = five_chapters();
  try {
    select_chapters(document, parse_chapter_ranges(text));
  } catch (const DocumentError& error) {
    return error.what();
  }
  std::string titles;
  for (const Chapter& chapter : document.chapters) {
    titles += "[" + chapter.title + "]";
  }
  return titles;
}

TEST(ChapterSelection, NumbersAndRanges) {
  EXPECT_EQ(parse_chapter_ranges("7"), (Ranges{{7, 7}}));
  EXPECT_EQ(parse_chapter_ranges("1-3,7"), (Ranges{{1, 3}, {7, 7}}));
  EXPECT_EQ(parse_chapter_ranges(" 2 - 4 , 9 "), (Ranges{{2, 4}, {9, 9}}));
  EXPECT_EQ(parse_chapter_ranges("5-"), (Ranges{{5, ChapterRange::end_of_book}}));
}

TEST(ChapterSelection, MistakesAreNamed) {
  for (const char* wrong : {"", ",", "1,", "0", "-3", "x", "1-x", "1.5", "1--2", "+1", "99999999999999999999"}) {
    EXPECT_NE(fault(wrong).find("is not a list of chapters"), std::string::npos) << wrong;
  }
  EXPECT_EQ(fault("3-1"), "\"3-1\" is not a list of chapters: the range 3-1 ends before it begins");
  EXPECT_EQ(fault("1-3,x"),
            "\"1-3,x\" is not a list of chapters: \"x\" is not the number of a chapter; expected numbers "
            "from 1 and ranges, like \"1-3,7\"");
}

TEST(ChapterSelection, ChaptersStayInOrderEachOnceAndKeepTheirNames) {
  EXPECT_EQ(selected("5,1-3,2"), "[A Tale][Two][Chapter 3][Five]");
  EXPECT_EQ(selected("4-"), "[Four][Five]");
  EXPECT_EQ(selected("1-5"), "[A Tale][Two][Chapter 3][Four][Five]");
}

TEST(ChapterSelection, WhatThereIsNotIsNamed) {
  EXPECT_EQ(selected("6"), "chapters: 6 does not exist, the book has 5 chapters");
  EXPECT_EQ(selected("1,3-9"), "chapters: 9 does not exist, the book has 5 chapters");
  EXPECT_EQ(selected("7-"), "chapters: 7 does not exist, the book has 5 chapters");
}

TEST(ChapterSelection, NoListMeansAll) {
  Document document = five_chapters();
  select_chapters(document, {});
  EXPECT_EQ(document.chapters.size(), 5u);
  EXPECT_EQ(document.chapters[0].title, "");
}

} // namespace
} // namespace audiobookd::jobs
