// Names of files and folders that come from strangers' titles.
#include "jobs/job.h"
#include "jobs/output_name.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

const OutputNames known{.author = "Ann Author",
                        .series = "Coast: North",
                        .series_index = "2",
                        .title = "The Lamp/Lantern?",
                        .year = "1912",
                        .narrator = "Anna"};

std::string complaint(const std::string& output, const OutputNames& names = {}) {
  try {
    return "expanded to " + expand_output(output, names);
  } catch (const JobError& error) {
    return error.what();
  }
}

TEST(SafeName, IsWhatEveryFileSystemTakes) {
  const std::pair<const char*, const char*> cases[] = {
      {"Chapter 1: Light", "Chapter 1 - Light"},
      {"9:30", "9-30"},
      {"AC/DC \\ <b>", "AC-DC - -b-"},
      {"Who? \"Me\" *", "Who 'Me'"},
      {"..hidden", "hidden"},
      {" . a . ", "a"},
      {"a\tb\n\x7f c\xc2\xa0"
       "d",
       "a b c d"},
      {"../../etc/passwd", "-..-etc-passwd"},
      {"...", ""},
      {"???", ""},
      {"", ""},
      {"Ein Märchen — 本", "Ein Märchen — 本"},
      {"zero\xe2\x80\x8bwidth", "zerowidth"},
  };
  for (const auto& [text, name] : cases) {
    EXPECT_EQ(safe_name(text), name) << text;
  }
}

TEST(SafeName, IsCutBetweenCharacters) {
  std::string umlauts;
  for (int i = 0; i < 150; ++i) {
    umlauts += "ä";
  }
  EXPECT_EQ(safe_name("x" + umlauts).size(), 199U);
  EXPECT_EQ(safe_name(umlauts).size(), 200U);
  EXPECT_EQ(safe_name("abcd efgh", 5), "abcd") << "no blank at the end";
  EXPECT_EQ(safe_name("\xff\xfe"
                      "a"),
            "\xef\xbf\xbd\xef\xbf\xbd"
            "a")
      << "never anything but UTF-8";
}

TEST(OutputName, PlaceholdersBecomeWhatTheyStandFor) {
  EXPECT_EQ(expand_output("{author}/{series}/{series_index} - {title} ({year}) {Anna}", known),
            "Ann Author/Coast - North/2 - The Lamp-Lantern (1912) {Anna}");
  EXPECT_EQ(expand_output("/home/{author}/{title}", known), "/home/Ann Author/The Lamp-Lantern");
  EXPECT_EQ(expand_output("s3://bucket/a/{title}.mp3", known), "s3://bucket/a/The Lamp-Lantern.mp3");
  EXPECT_EQ(expand_output("plain/{}/{A}/{ title}.mp3", known), "plain/{}/{A}/{ title}.mp3");
  EXPECT_TRUE(has_placeholders("a/{title}"));
  EXPECT_FALSE(has_placeholders("a/{Title}"));
}

TEST(OutputName, WhatIsNotKnownLeavesNoTrace) {
  OutputNames some = known;
  some.series.clear();
  some.series_index.clear();
  EXPECT_EQ(expand_output("{author}/{series}/{title}", some), "Ann Author/The Lamp-Lantern");
  EXPECT_EQ(expand_output("{series}/{title}", some), "The Lamp-Lantern");
  EXPECT_EQ(expand_output("{series_index} - {title}", some), "The Lamp-Lantern");
  EXPECT_EQ(expand_output("{title}, {series}", some), "The Lamp-Lantern");
  EXPECT_EQ(expand_output("s3://bucket/{series}/{title}", some), "s3://bucket/The Lamp-Lantern");
  EXPECT_EQ(expand_output("books/Series {series}/{title}", some), "books/The Lamp-Lantern");
}

TEST(OutputName, MistakesAreNamed) {
  EXPECT_NE(complaint("{auhtor}/x").find("\"{auhtor}\" is not known; expected {author}"), std::string::npos);
  EXPECT_NE(complaint("a/{title}").find("of \"a/{title}\" no name is left"), std::string::npos);
  EXPECT_NE(complaint("s3://{title}/x", known).find("a bucket must be named"), std::string::npos);
}

TEST(OutputName, NothingClimbsOutOfItsFolder) {
  OutputNames hostile = known;
  hostile.author = "..";
  hostile.title = "../../etc/passwd";
  EXPECT_EQ(expand_output("in/{author}/{title}", hostile), "in/-..-etc-passwd");
  hostile.author = ".";
  EXPECT_EQ(expand_output("in/.{author}./{title}", hostile), "in/-..-etc-passwd");
}

TEST(OutputName, AudioIsKnownByItsExtension) {
  EXPECT_TRUE(names_audio("a/b.MP3"));
  EXPECT_FALSE(names_audio("a/b"));
  EXPECT_FALSE(names_audio("a/Vol. 2"));
}

} // namespace
} // namespace audiobookd::jobs
