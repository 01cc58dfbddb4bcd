// Word documents: paragraphs, styles, what is left out, properties.
#include "tests/jobs/document/archives.h"
#include "tests/jobs/document/outline.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using testing::docx;
using testing::docx_paragraph;
using testing::outline;
using testing::refusal;

std::string body(const std::string& content) { return outline(parse_document(docx(content), "book.docx")); }

TEST(DocxDocument, HeadingStylesBeginChapters) {
  EXPECT_EQ(body(docx_paragraph("One", "Heading1") + docx_paragraph("a") + docx_paragraph("Sub", "Heading2") +
                 docx_paragraph("b") + docx_paragraph("Two", "Mine") + docx_paragraph("c", "Loop")),
            "[One]\n# One\na\n# Sub\nb\n[Two]\n# Two\nc\n");
}

TEST(DocxDocument, TheTitleStandsAboveTheChapters) {
  EXPECT_EQ(body(docx_paragraph("A Tale", "Title") + docx_paragraph("One", "Heading1") + docx_paragraph("a") +
                 docx_paragraph("Two", "Heading1") + docx_paragraph("b")),
            "[One]\n# A Tale\n# One\na\n[Two]\n# Two\nb\n");
}

TEST(DocxDocument, PropertiesDescribeTheDocument) {
  const Document document = parse_document(docx(docx_paragraph("x")), "book.docx");
  EXPECT_EQ(document.title, "A Tale");
  EXPECT_EQ(document.author, "Ann Author, Ben Writer");
  EXPECT_EQ(document.language, "en-US");
  EXPECT_EQ(document.description, "About a lamp.");
}

TEST(DocxDocument, WhatIsNotPartOfTheTextIsLeftOut) {
  EXPECT_EQ(
      body(docx_paragraph("One ..... 5", "TOC1") + docx_paragraph("int x;", "Code") +
           "<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery w:val='Table of Contents'/></w:docPartObj></w:sdtPr>"
           "<w:sdtContent>" +
           docx_paragraph("Contents") +
           "</w:sdtContent></w:sdt>"
           "<w:p><w:r><w:t>Kept</w:t><w:footnoteReference w:id='1'/></w:r><w:del><w:r><w:delText>deleted</w:delText>"
           "</w:r></w:del><w:ins><w:r><w:t xml:space='preserve'> inserted</w:t></w:r></w:ins><w:r><w:rPr><w:vanish/>"
           "</w:rPr><w:t>hidden</w:t></w:r><w:r><w:instrText>PAGE</w:instrText><w:tab/><w:t>end</w:t></w:r>"
           "<w:hyperlink><w:r><w:t>.</w:t></w:r></w:hyperlink></w:p>"),
      "[]\nKept inserted end.\n");
}

TEST(DocxDocument, ARowOfATableIsAParagraph) {
  const auto cell = [](const std::string& text) { return "<w:tc>" + docx_paragraph(text) + "</w:tc>"; };
  EXPECT_EQ(body("<w:tbl><w:tr>" + cell("Day") + cell("Tide") + "</w:tr><w:tr>" + cell("Monday") + cell("6:00") +
                 "</w:tr></w:tbl>" + docx_paragraph("After.")),
            "[]\nDay, Tide\nMonday, 6:00\nAfter.\n");
}

TEST(DocxDocument, RefusalsSayWhatIsWrong) {
  EXPECT_EQ(refusal(testing::zip({{"META-INF/container.xml", "<a/>"}}), "b.docx"),
            "b.docx: not a Word document: the archive has no word/document.xml");
  EXPECT_EQ(refusal(testing::zip({{"word/document.xml", "<a><b></a>"}}), "b.docx"),
            "b.docx: word/document.xml: not well-formed XML: Start-end tags mismatch at byte offset 8");
  EXPECT_EQ(refusal(testing::zip({{"word/document.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}}), "b.docx"),
            "b.docx: word/document.xml: declares XML entities of its own (<!ENTITY), which are not read");
  EXPECT_EQ(refusal(docx(""), "b.docx").find("b.docx: nothing to read aloud in "), 0u);
  EXPECT_EQ(
      refusal(docx("<w:tbl><w:tr><w:tc><w:tbl><w:tr/></w:tbl></w:tc></w:tr></w:tbl>"), "b.docx", {.max_depth = 6}),
      "b.docx: word/document.xml: nested deeper than 6 elements");
  std::string paragraphs;
  for (int i = 0; i < 100; ++i) {
    paragraphs += docx_paragraph("x");
  }
  EXPECT_EQ(refusal(docx(paragraphs), "b.docx", {.max_xml_elements = 200}),
            "b.docx: word/document.xml: more than the limit of 200 XML elements");
}

} // namespace
} // namespace audiobookd::jobs
