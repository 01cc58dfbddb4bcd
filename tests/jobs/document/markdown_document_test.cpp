// Markdown documents: blocks, front matter, notes, tables, chapters.
#include "tests/jobs/document/outline.h"

#include <gtest/gtest.h>
#include <string>

namespace audiobookd::jobs {
namespace {

using testing::outline;
using testing::refusal;

std::string body(const std::string& markdown) {
  const std::string text = outline(parse_document(markdown, "book.md"));
  return text.substr(text.find('\n') + 1);
}

TEST(MarkdownDocument, MarksAreDroppedAndTheirTextIsRead) {
  EXPECT_EQ(body("It *was* **dark** and `stormy`; see [the map](http://x.org \"Map\")\nor <http://y.org>.\\*"),
            "It was dark and stormy; see the map or http://y.org.*\n");
}

TEST(MarkdownDocument, HeadingsOfBothKindsBeginChapters) {
  EXPECT_EQ(outline(parse_document("# One {#one .x}\n\na\n\nTwo\n===\n\nb\n\n## Sub\n\nc\n", "book.markdown")),
            "[One]\n# One\na\n[Two]\n# Two\nb\n# Sub\nc\n");
}

TEST(MarkdownDocument, ThematicBreaksAreSceneBreaks) {
  EXPECT_EQ(body("a\n\n* * *\n\nb\n\n---\n\nc\n\n\\* \\* \\*\n\nd"), "a\n~\nb\n~\nc\n~\nd\n");
}

TEST(MarkdownDocument, ItemsOfListsAreParagraphs) {
  EXPECT_EQ(body("1. one\n2. two\n\n- [x] three\n- four\n\n  five\n> six\n"), "one\ntwo\nthree\nfour\nfive\nsix\n");
}

TEST(MarkdownDocument, PicturesAndCodeAreLeftOut) {
  const Document document = parse_document("a ![a *lamp*](l.png) b\n\n```c\nint x;\n```\n\n    y = 1\n\nc", "book.md");
  EXPECT_EQ(outline(document), "[]\na b\nc\n");
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_EQ(document.warnings[0], "book.md: 2 blocks of source code were left out");
}

TEST(MarkdownDocument, HtmlIsReadAsHtml) {
  EXPECT_EQ(body("<div><p>one</p><script>no</script></div>\n\n<!-- no -->\n\ntwo <b>bold</b><br>three\n\n<hr>\n\nfour"),
            "one\ntwo bold three\n~\nfour\n");
}

TEST(MarkdownDocument, NotesAreLeftOut) {
  EXPECT_EQ(
      body("One[^1] two[^b].\n\n[^1]: A note\ngoes on.\n[^b]: Another.\n\n    Its second paragraph.\n\nEnd `[^1]`."),
      "One two.\nEnd [^1].\n");
}

TEST(MarkdownDocument, RowsOfTablesAreParagraphs) {
  EXPECT_EQ(body("| Day | Tide |\n|-----|:----:|\n| Monday | 6:00 |\n\nAfter."), "Day, Tide\nMonday, 6:00\nAfter.\n");
}

TEST(MarkdownDocument, FrontMatterDescribesTheDocument) {
  const Document document =
      parse_document("---\n# a comment\ntitle: \"The Lamp: a \\\"tale\\\"\"\nauthor:\n  - Ann Author\n"
                     "  - name: 'Ben O''Writer'\nlang: en-GB\nseries: Coast # its name\n"
                     "series_index: 2\ndate: 4 May 2021\npublisher: Shore\n"
                     "description: |\n  A lamp.\n  And a keeper.\ntags: [a, b]\n...\n# One\n\nx",
                     "book.md");
  EXPECT_EQ(document.title, "The Lamp: a \"tale\"");
  EXPECT_EQ(document.author, "Ann Author, Ben O'Writer");
  EXPECT_EQ(document.language, "en-GB");
  EXPECT_EQ(document.series, "Coast");
  EXPECT_EQ(document.series_index, "2");
  EXPECT_EQ(document.year, "2021");
  EXPECT_EQ(document.publisher, "Shore");
  EXPECT_EQ(document.description, "A lamp. And a keeper.");
  EXPECT_EQ(outline(document), "[One]\n# One\nx\n");
}

TEST(MarkdownDocument, AuthorsMayStandInOneLine) {
  EXPECT_EQ(parse_document("---\nauthors: [Ann, \"Ben, Jr.\"]\n---\nx", "book.md").author, "Ann, Ben, Jr.");
}

TEST(MarkdownDocument, PandocsTitleBlockDescribesTheDocument) {
  const Document document = parse_document("% The Lamp\n% Ann; Ben\n% May 2021\n\nx", "book.md");
  EXPECT_EQ(document.title, "The Lamp");
  EXPECT_EQ(document.author, "Ann, Ben");
  EXPECT_EQ(document.year, "2021");
  EXPECT_EQ(outline(document), "[]\nx\n");
}

TEST(MarkdownDocument, ARuleAtTheBeginningIsNoFrontMatter) {
  EXPECT_EQ(body("---\n\nx\n\n---\n\ny"), "x\n~\ny\n");
  EXPECT_EQ(body("---\ntitle: x"), "title: x\n") << "nothing ends it";
}

TEST(MarkdownDocument, TheFirstSingleHeadingIsTheTitle) {
  const Document document = parse_document("# Tale\n\nfor me\n\n## One\n\na\n\n## Two\n\nb", "book.md");
  EXPECT_EQ(document.title, "Tale");
  EXPECT_EQ(outline(document), "[]\n# Tale\nfor me\n[One]\n# One\na\n[Two]\n# Two\nb\n");
}

TEST(MarkdownDocument, WhatTakesTimeOutOfProportionIsRefused) {
  std::string pictures = "x";
  for (int i = 0; i < 1000; ++i) {
    pictures += "![[]()\n";
  }
  EXPECT_EQ(refusal(pictures + "\n" + pictures, "b.md"), "");
  EXPECT_EQ(refusal(pictures + pictures, "b.md"), "b.md: more than 1000 pictures (\"![\") in one paragraph");
}

TEST(MarkdownDocument, RefusalsSayWhatIsWrong) {
  EXPECT_EQ(refusal("```\ncode\n```", "b.md"), "b.md: nothing to read aloud in 12 bytes");
  EXPECT_EQ(refusal("abc\x1b", "b.md"), "b.md: not a text file: control character U+001B at byte offset 3");
  EXPECT_EQ(refusal("123456", "b.md", {.max_bytes = 5}), "b.md: 6 bytes, more than the limit of 5");
}

} // namespace
} // namespace audiobookd::jobs
