// What is said before and after a book.
#include "jobs/credits.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

TEST(Credits, TheDefaultsSayWhatIsKnown) {
  const CreditNames all{
      .title = "The Lamp", .subtitle = "A Tale", .author = "Ann Author", .narrator = "Anna, a synthetic voice"};
  EXPECT_EQ(expand_credits(default_opening_credits, all),
            "The Lamp. A Tale. Written by Ann Author. Narrated by Anna, a synthetic voice.");
  EXPECT_EQ(expand_credits(default_closing_credits, {.title = "The Lamp", .narrator = "a synthetic voice"}),
            "You have been listening to The Lamp. Narrated by a synthetic voice. The end.");
}

TEST(Credits, FullStopsOfNamesAreNotDoubled) {
  EXPECT_EQ(expand_credits("{title}. By {author}!", {.title = "Who Goes There?", .author = "A. N. Other, Jr."}),
            "Who Goes There? By A. N. Other, Jr.!");
  EXPECT_EQ(expand_credits("{title}... {year}.", {.title = "Stop.", .year = "1912"}), "Stop... 1912.");
}

TEST(Credits, ASentenceWithoutItsNameIsLeftOutAndOthersStay) {
  EXPECT_EQ(expand_credits("One {series}, book {series_index}. Two. {publisher} made it? Three", {.series = "Coast"}),
            "Two. Three");
  EXPECT_EQ(expand_credits("{title}.\n\nWritten by {author}.", {.title = "3.5 Lamps"}), "3.5 Lamps.");
  EXPECT_EQ(expand_credits("{title}.", {}), "");
}

TEST(Credits, OtherBracesAreLeftAloneAndNamesAreNotExpandedAgain) {
  EXPECT_EQ(expand_credits("{Title} {} { x } {", {}), "{Title} {} { x } {");
  EXPECT_EQ(expand_credits("{title}.", {.title = "{author}. {year}"}), "{author}. {year}.");
}

TEST(Credits, MistakesAreNamed) {
  EXPECT_EQ(complaint_about_credits(default_opening_credits), "");
  EXPECT_EQ(complaint_about_credits(default_closing_credits), "");
  EXPECT_EQ(complaint_about_credits("{Title} {} {"), "");
  EXPECT_EQ(complaint_about_credits(" \n"), "contains nothing to say");
  EXPECT_NE(complaint_about_credits(std::string(4097, 'x')).find("4097 bytes long, at most 4096"), std::string::npos);
  EXPECT_NE(complaint_about_credits("a {titel}").find("{titel} is no placeholder; there are {title}, {subtitle}"),
            std::string::npos);
}

} // namespace
} // namespace audiobookd::jobs
