// HTML documents: what is read of a page, what is not, encodings, chapters.
#include "tests/jobs/document/outline.h"

#include <gtest/gtest.h>
#include <string>

namespace audiobookd::jobs {
namespace {

using testing::outline;
using testing::refusal;

std::string body(const std::string& html) {
  const std::string text = outline(parse_document(html, "page.html"));
  return text.substr(text.find('\n') + 1);
}

TEST(HtmlDocument, BlocksAreParagraphsAndInlineElementsAreNot) {
  EXPECT_EQ(body("<p>One <b>bold</b>, <i>slan</i>ted\n  and <a href='x.html'>linked</a>.</p><div>Two<div>Three</div>"
                 "four</div><blockquote>Five</blockquote>"),
            "One bold, slanted and linked.\nTwo\nThree\nfour\nFive\n");
}

TEST(HtmlDocument, TagsThatNobodyClosedDoNoHarm) {
  EXPECT_EQ(body("<p>One<p>Two<ul><li>Three<li>Four</ul><p>Five <i>six<p>Seven</b></p></div>"),
            "One\nTwo\nThree\nFour\nFive six\nSeven\n");
}

TEST(HtmlDocument, EntitiesAreText) {
  EXPECT_EQ(body("<p>Fish &amp; chips&nbsp;&mdash; &#8220;caf&eacute;&#x201d;&hellip; &#151; &lt;b&gt;</p>"),
            "Fish & chips — “café”… — <b>\n");
}

TEST(HtmlDocument, InvisibleCharactersGoButForThoseThatJoinLetters) {
  EXPECT_EQ(body("<p>soft&shy;ly zero&#8203;width\xef\xbb\xbf &#x1f468;&zwj;&#x1f469; &#xfffd;end"),
            "softly zerowidth \U0001f468\u200d\U0001f469 end\n");
}

TEST(HtmlDocument, WhatNobodySeesOrReadsIsLeftOut) {
  for (const std::string hidden :
       {"<script>var p = '<p>no</p>';</script>", "<style>p { color: red }</style>", "<nav><a href='/'>Home</a></nav>",
        "<aside>Buy now</aside>", "<p hidden>no</p>", "<p aria-hidden='true'>no</p>", "<p style='display: none'>no</p>",
        "<template><p>no</p></template>", "<noscript>no</noscript>", "<button>no</button>", "<!-- no -->",
        "<footer>© 2020</footer>", "<div role='navigation'>no</div>", "<svg><text>no</text></svg>",
        "<select><option>no</select>", "<ruby>漢<rt>no</rt></ruby>"}) {
    const std::string text = body("<p>Before.</p>" + hidden + "<p>After.</p>");
    EXPECT_EQ(text.find("no"), std::string::npos) << hidden << text;
    EXPECT_EQ(text.find("Home"), std::string::npos) << text;
    EXPECT_EQ(text.find("Buy"), std::string::npos) << text;
    EXPECT_EQ(text.find("2020"), std::string::npos) << text;
    EXPECT_TRUE(text.starts_with("Before.\n") && text.ends_with("After.\n")) << text;
  }
}

TEST(HtmlDocument, OnlyTheMainPartOfAPageThatHasOneIsRead) {
  EXPECT_EQ(body("<header>My site</header><main><h1>Tale</h1><p>Once.</p></main><div>Comments</div>"),
            "# Tale\nOnce.\n");
}

TEST(HtmlDocument, NotesAndReferencesToThemAreLeftOut) {
  EXPECT_EQ(body("<p>One<sup><a href='#n1' id='r1'>1</a></sup> two<a href='#n2'><sup>*</sup></a> three "
                 "<a class='fnanchor' href='#n3'>[3]</a>.</p><p id='n1'><a href='#r1'>1</a> A note.</p>"
                 "<p><a id='n2'></a>* Another.</p><div id='n3'>[3] A third.</div><p>End.</p>"),
            "One two three .\nEnd.\n");
  EXPECT_EQ(body("<p>One<a role='doc-noteref' href='#x'>1</a>.</p><section role='doc-endnotes'><p>Note</p></section>"
                 "<p>Two</p><div class='footnotes'><ol><li>Note</li></ol></div>"),
            "One.\nTwo\n");
}

TEST(HtmlDocument, AParagraphThatANoteLeadsBackToStays) {
  EXPECT_EQ(body("<p id='r1'>One<a href='#n1'>[1]</a></p><p id='n1'><a href='#r1'>[1]</a> Note.</p><p>Two</p>"),
            "One\nTwo\n");
}

TEST(HtmlDocument, OtherLinksWithNumbersAreRead) {
  EXPECT_EQ(body("<p>See <a href='#c12'>chapter 12</a> or <a href='p.html'>12</a>, H<sub>2</sub>O, 2<sup>10</sup>.</p>"
                 "<p id='c12'>Twelve.</p>"),
            "See chapter 12 or 12, H2O, 210.\nTwelve.\n");
}

TEST(HtmlDocument, PageNumbersAreLeftOut) {
  EXPECT_EQ(body("<p>One <span class='pagenum'>[Pg 12]</span>two <span epub:type='pagebreak'>13</span>three.</p>"),
            "One two three.\n");
}

TEST(HtmlDocument, LineBreaksAreSpacesAndTwoEndAParagraph) {
  EXPECT_EQ(body("One<br>two<br/>three.<br><br>Four.<br>\n&nbsp;<br>Five."), "One two three.\nFour.\nFive.\n");
}

TEST(HtmlDocument, ALineBreakBehindTheNumberOfAChapterSetsItsTitleApart) {
  EXPECT_EQ(body("<h2>CHAPTER I<br/>The Lamp</h2><p>x</p>"), "# CHAPTER I: The Lamp\nx\n");
  EXPECT_EQ(body("<h2>The Lamp<br/>at Greyholm</h2><p>x</p>"), "# The Lamp at Greyholm\nx\n");
}

TEST(HtmlDocument, RulesAndRowsOfStarsAreSceneBreaks) {
  EXPECT_EQ(body("<p>One</p><hr><p>Two</p><p>* * *</p><p>Three</p><p>&#8258;</p><p>Four</p><hr/>"),
            "One\n~\nTwo\n~\nThree\n~\nFour\n");
}

TEST(HtmlDocument, ARowOfATableIsAParagraph) {
  EXPECT_EQ(body("<table><caption>Tides</caption><tr><th>Day<th>High<tr><td>Mon.<td>6:00</table>"),
            "Tides\nDay, High\nMon. 6:00\n");
}

TEST(HtmlDocument, CodeIsLeftOutWithAWarningAndVerseIsNot) {
  const Document document = parse_document(
      "<p>Run <code>make</code>:</p><pre><code>int x;</code></pre><pre class='code'>y</pre><pre>Roses are red,\n  "
      "violets blue</pre>",
      "page.html");
  EXPECT_EQ(outline(document), "[]\nRun make:\nRoses are red, violets blue\n");
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_EQ(document.warnings[0], "page.html: 2 blocks of source code were left out");
}

TEST(HtmlDocument, PicturesThatStandForTextAreRead) {
  EXPECT_EQ(body("<h1><img alt='The Lamp' src='t.png'></h1><p><img alt='O' src='o.png'>nce there was "
                 "<img alt='a picture of a lamp'>one.</p>"),
            "# The Lamp\nOnce there was one.\n");
}

TEST(HtmlDocument, QuotationsGetTheirMarks) { EXPECT_EQ(body("<p>He said <q>go</q>.</p>"), "He said “go”.\n"); }

TEST(HtmlDocument, TitleAuthorAndLanguageAreThoseOfTheHead) {
  const Document document =
      parse_document("<html lang=de-AT><head><title>A\n tale</title><meta name=author content='Ann Author'>"
                     "<meta name=author content='Ben'><meta name=description content='A lamp.'></head><body><p>x",
                     "page.html");
  EXPECT_EQ(document.title, "A tale");
  EXPECT_EQ(document.author, "Ann Author, Ben");
  EXPECT_EQ(document.language, "de-AT");
  EXPECT_EQ(document.description, "A lamp.");
}

TEST(HtmlDocument, TheEncodingIsThatOfMarkMetaOrDeclaration) {
  EXPECT_EQ(body("<meta charset=iso-8859-1><p>caf\xe9 \x93x\x94"), "café “x”\n");
  EXPECT_EQ(body("<meta http-equiv=Content-Type content='text/html; charset=windows-1251'><p>\xcc\xe8\xf0"), "Мир\n");
  EXPECT_EQ(body("<?xml version='1.0' encoding='iso-8859-2'?><html><body><p>\xb3\xf3"
                 "d\xbc</p></body></html>"),
            "łódź\n");
  EXPECT_EQ(body("<meta charset=utf-8><p>caf\xc3\xa9"), "café\n");
  EXPECT_EQ(body("\xef\xbb\xbf<meta charset=latin1><p>caf\xc3\xa9"), "café\n") << "the mark is right, not the meta";
  EXPECT_EQ(body(std::string("\xff\xfe<\0p\0>\0\xe9\0", 10)), "é\n");
}

TEST(HtmlDocument, DamagedCharactersAreLeftOutWithAWarning) {
  const Document document = parse_document("<p>O\xc3\xb9 \xc3\xa7\x61? L\xe0, tr\xc3\xa8s", "page.html");
  EXPECT_EQ(outline(document), "[]\nOù ça? L, très\n");
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_NE(document.warnings[0].find("page.html: not a text file: damaged UTF-8 at byte offset"), std::string::npos);
}

TEST(HtmlDocument, ChaptersBeginAtHeadings) {
  EXPECT_EQ(outline(parse_document("<h1>One</h1><p>a</p><h2>Sub</h2><p>b</p><h1>Two</h1><p>c</p>", "p.html")),
            "[One]\n# One\na\n# Sub\nb\n[Two]\n# Two\nc\n");
}

TEST(HtmlDocument, ASingleHighestHeadingIsTheTitleAndTheNextLevelBeginsChapters) {
  const Document document =
      parse_document("<h1>Tale</h1><h2>One</h2><p>a</p><h3>Sub</h3><p>b</p><h2>Two</h2><p>c</p>", "p.html");
  EXPECT_EQ(document.title, "Tale");
  EXPECT_EQ(outline(document), "[One]\n# Tale\n# One\na\n# Sub\nb\n[Two]\n# Two\nc\n");
}

TEST(HtmlDocument, AHeadingThatSaysTheTitleIsNoChapter) {
  EXPECT_EQ(outline(parse_document("<title>A Tale</title><h1 class=title>A tale</h1><h2 class=author>Ann</h2>"
                                   "<h1>One</h1><p>a</p><h1>Two</h1><p>b</p>",
                                   "p.html")),
            "[]\n# A tale\nAnn\n[One]\n# One\na\n[Two]\n# Two\nb\n");
}

TEST(HtmlDocument, PartsAreJoinedWithTheirFirstChapters) {
  EXPECT_EQ(outline(parse_document("<h1>Part I</h1><h2>One</h2><p>a</p><h2>Two</h2><p>b</p><h1>Part II</h1><h2>Three"
                                   "</h2><p>c</p>",
                                   "p.html")),
            "[Part I: One]\n# Part I\n# One\na\n[Two]\n# Two\nb\n[Part II: Three]\n# Part II\n# Three\nc\n");
}

TEST(HtmlDocument, ParagraphsLikeHeadingsCountWhereThereAreNoOthers) {
  EXPECT_EQ(outline(parse_document("<p>CHAPTER I</p><p>a</p><p>CHAPTER II</p><p>b</p>", "p.html")),
            "[CHAPTER I]\n# CHAPTER I\na\n[CHAPTER II]\n# CHAPTER II\nb\n");
}

TEST(HtmlDocument, TheLicenceOfProjectGutenbergIsLeftOut) {
  EXPECT_EQ(body("<p>Licence</p><p>*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***</p><p>Once.</p>"
                 "<p>*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***</p><p>More licence</p>"),
            "Once.\n");
  EXPECT_EQ(body("<section class='pg-boilerplate pgheader' id='pg-header'>Licence</section><p>Once.</p>"
                 "<section id='pg-footer'>Licence</section>"),
            "Once.\n");
}

TEST(HtmlDocument, RefusalsSayWhatIsWrong) {
  EXPECT_EQ(refusal("<p> <br></p>", "p.html"), "p.html: nothing to read aloud in 12 bytes");
  EXPECT_EQ(refusal("<!DOCTYPE html [<!ENTITY a 'b'>]><p>&a;", "p.html"),
            "p.html: declares XML entities of its own (<!ENTITY), which are not read");
  EXPECT_EQ(refusal(std::string("<p>a\0b", 6), "p.html"),
            "p.html: not a text file: control character U+0000 at byte offset 4");
  EXPECT_EQ(refusal("<p>12345", "p.html", {.max_bytes = 7}), "p.html: 8 bytes, more than the limit of 7");
  EXPECT_EQ(refusal("<div><div><div><div>x", "p.html", {.max_depth = 5}), "p.html: nested deeper than 5 elements");
}

TEST(HtmlDocument, WhatTakesTimeOutOfProportionIsRefused) {
  std::string attributes;
  for (int i = 0; i < 1001; ++i) {
    attributes += " a" + std::to_string(i) + "='x y > z'";
  }
  EXPECT_EQ(refusal("<p>x</p><p" + attributes + ">y", "p.html"),
            "p.html: more than 1000 attributes in the tag at byte offset 8");
  EXPECT_EQ(refusal("<p title=\"" + attributes + "\">y", "p.html"), "");
  EXPECT_EQ(refusal("<p>1 <2" + std::string(5000, ' ') + "x", "p.html"), "") << "no tag";
}

TEST(HtmlDocument, DeepNestingIsRefusedAndNotCutShort) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) {
    deep += "<div>";
  }
  EXPECT_EQ(refusal(deep + "x", "p.html"),
            "p.html: cannot be read as HTML: nested deeper than 250 elements, or a piece of text above 10 MB");
}

} // namespace
} // namespace audiobookd::jobs
