// EPUB documents: metadata, reading order, chapters, what is left out, what is refused.
#include "tests/jobs/document/archives.h"
#include "tests/jobs/document/outline.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using testing::epub;
using testing::EpubParts;
using testing::Members;
using testing::navigation;
using testing::navigation_item;
using testing::outline;
using testing::refusal;

Document parse(const EpubParts& parts) { return parse_document(epub(parts), "book.epub"); }

/// A book with a navigation document.
EpubParts navigated(Members pages, const std::string& items) {
  return {.pages = std::move(pages), .more_manifest = navigation_item, .more = {{"nav.xhtml", navigation(items)}}};
}

std::string ncx_point(const std::string& title, const std::string& target, const std::string& below = "") {
  return "<navPoint><navLabel><text>" + title + "</text></navLabel><content src=\"" + target + "\"/>" + below +
         "</navPoint>";
}

/// A book with an NCX, as an EPUB 2 has.
EpubParts epub_2(Members pages, const std::string& points) {
  EpubParts parts{.version = "2.0", .pages = std::move(pages)};
  parts.more_manifest = R"(<item id="toc" href="toc.ncx" media-type="application/x-dtbncx+xml"/>)";
  parts.spine_attributes = "toc=\"toc\"";
  parts.more = {{"toc.ncx", "<?xml version='1.0'?><!DOCTYPE ncx PUBLIC '-//NISO//DTD ncx 2005-1//EN' "
                            "'http://www.daisy.org/z3986/2005/ncx-2005-1.dtd'><ncx "
                            "xmlns='http://www.daisy.org/z3986/2005/ncx/'><navMap>" +
                                points + "</navMap></ncx>"}};
  return parts;
}

TEST(EpubDocument, MetadataOfEpub3) {
  const Document document = parse(
      {.metadata = "<dc:identifier>other</dc:identifier><dc:identifier id='id'>urn:isbn:978</dc:identifier>"
                   "<dc:title id='sub'>A subtitle</dc:title><dc:title id='t'>The  Lamp</dc:title>"
                   "<meta refines='#t' property='title-type'>main</meta>"
                   "<dc:creator id='a'>Ann Author</dc:creator><meta refines='#a' property='role'>aut</meta>"
                   "<dc:creator id='b'>Iris Illustrator</dc:creator><meta refines='#b' property='role'>ill</meta>"
                   "<dc:creator>Ben Writer</dc:creator><dc:language>en-GB</dc:language><dc:publisher>Shore &amp; "
                   "Sons</dc:publisher><dc:date>2021-05-04T00:00:00Z</dc:date><dc:description>&lt;p&gt;A "
                   "&lt;b&gt;lamp&lt;/b&gt;.&lt;/p&gt;</dc:description>"
                   "<meta property='belongs-to-collection' id='c'>Coast</meta><meta refines='#c' "
                   "property='collection-type'>series</meta><meta refines='#c' property='group-position'>2</meta>",
       .pages = {{"a.xhtml", "<p>x</p>"}}});
  EXPECT_EQ(document.title, "The Lamp");
  EXPECT_EQ(document.author, "Ann Author, Ben Writer");
  EXPECT_EQ(document.language, "en-GB");
  EXPECT_EQ(document.publisher, "Shore & Sons");
  EXPECT_EQ(document.year, "2021");
  EXPECT_EQ(document.description, "A lamp.");
  EXPECT_EQ(document.identifier, "urn:isbn:978");
  EXPECT_EQ(document.series, "Coast");
  EXPECT_EQ(document.series_index, "2");
}

TEST(EpubDocument, MetadataOfEpub2) {
  EpubParts parts = epub_2({{"a.xhtml", "<p>x</p>"}}, "");
  parts.metadata = "<dc:title>The Lamp</dc:title><dc:creator opf:role='aut'>Ann</dc:creator><dc:creator "
                   "opf:role='trl'>Tom</dc:creator><dc:date opf:event='modification'>2020</dc:date><dc:date "
                   "opf:event='publication'>1899-01-02</dc:date><meta name='calibre:series' content='Coast'/>"
                   "<meta name='calibre:series_index' content='3.0'/>";
  const Document document = parse(parts);
  EXPECT_EQ(document.title, "The Lamp");
  EXPECT_EQ(document.author, "Ann");
  EXPECT_EQ(document.year, "1899");
  EXPECT_EQ(document.series, "Coast");
  EXPECT_EQ(document.series_index, "3");
}

TEST(EpubDocument, TheCoverIsThatOfTheManifestOrOfTheMetadata) {
  EpubParts parts{.pages = {{"a.xhtml", "<p>x</p>"}}, .more = {{"c.png", testing::png(3, 5)}}};
  parts.more_manifest = R"(<item id="c" href="c.png" media-type="image/png" properties="cover-image"/>)";
  Document document = parse(parts);
  ASSERT_TRUE(document.cover);
  EXPECT_EQ(document.cover->media_type, "image/png");
  EXPECT_EQ(document.cover->bytes, testing::png(3, 5));
  parts.more_manifest = R"(<item id="c" href="c.png" media-type="image/png"/>)";
  EXPECT_FALSE(parse(parts).cover);
  parts.metadata = R"(<meta name="cover" content="c"/>)";
  EXPECT_TRUE(parse(parts).cover);
}

TEST(EpubDocument, ACoverThatIsNoneIsLeftOutWithAWarning) {
  EpubParts parts{.pages = {{"a.xhtml", "<p>x</p>"}}, .more = {{"c.png", "GIF89a"}}};
  parts.more_manifest = R"(<item id="c" href="c.png" media-type="image/png" properties="cover-image"/>)";
  const Document document = parse(parts);
  EXPECT_FALSE(document.cover);
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_EQ(document.warnings[0], "the cover 'OEBPS/c.png' was left out: it is neither JPEG nor PNG");
  parts.more.clear();
  EXPECT_EQ(parse(parts).warnings.at(0), "the cover was left out: book.epub: the archive has no member 'OEBPS/c.png'");
}

TEST(EpubDocument, ThePagesOfTheSpineAreReadInItsOrder) {
  EpubParts parts{.pages = {{"z.xhtml", "<p>one</p>"}, {"sub/a%20b.xhtml", "<p>two</p>"}, {"c.xhtml", "<p>three</p>"}}};
  parts.more_manifest = R"(<item id="extra" href="extra.xhtml" media-type="application/xhtml+xml"/>)";
  parts.more_spine = R"(<itemref idref="extra" linear="no"/><itemref idref="page0"/>)";
  parts.more = {{"extra.xhtml", testing::page("<p>no</p>")}};
  Members members = testing::epub_members(parts);
  for (auto& [name, bytes] : members) {
    name = name == "OEBPS/sub/a%20b.xhtml" ? "OEBPS/sub/a b.xhtml" : name;
  }
  EXPECT_EQ(outline(parse_document(testing::zip(members), "book.epub")), "[]\none\ntwo\nthree\n")
      << "in order, what is not linear left out, every page once";
}

TEST(EpubDocument, ChaptersAreThoseOfTheNavigationDocument) {
  const EpubParts parts =
      navigated({{"title.xhtml", "<p>For my mother.</p>"},
                 {"one.xhtml", "<h1>1</h1><p>a</p>"},
                 {"one-b.xhtml", "<h2>no chapter</h2><p>b</p>"},
                 {"two.xhtml", "<p>TWO</p><p>c</p>"}},
                "<li><a href='one.xhtml'>Chapter <i>One</i></a></li><li><a href='two.xhtml#x'>Two</a></li>");
  EXPECT_EQ(outline(parse(parts)), "[]\nFor my mother.\n[Chapter One]\n# 1\na\n# no chapter\nb\n[Two]\n# TWO\nc\n");
}

TEST(EpubDocument, APageIsSplitWhereChaptersBeginInIt) {
  const EpubParts parts = navigated(
      {{"all.xhtml", "<h1 id='a'>One</h1><p>a</p><section id='b'><h1>Two</h1><p>b</p></section><p>b2</p>"
                     "<p><a id='c'/>Three begins</p><p>c</p>"}},
      "<li><a href='all.xhtml#a'>One</a></li><li><a href='all.xhtml#b'>Two</a></li><li><a href='all.xhtml#c'>Three</a>"
      "</li>");
  EXPECT_EQ(outline(parse(parts)), "[One]\n# One\na\n[Two]\n# Two\nb\nb2\n[Three]\nThree begins\nc\n");
}

TEST(EpubDocument, ChaptersOfAnNcx) {
  EXPECT_EQ(outline(parse(epub_2({{"a.xhtml", "<h1>One</h1><p>a</p>"}, {"b.xhtml", "<h1>Two</h1><p>b</p>"}},
                                 ncx_point("One &amp; only", "a.xhtml") + ncx_point("Two", "b.xhtml")))),
            "[One & only]\n# One\na\n[Two]\n# Two\nb\n");
}

TEST(EpubDocument, TheNavigationDocumentGoesBeforeTheNcx) {
  EpubParts parts = epub_2({{"a.xhtml", "<p>a</p>"}}, ncx_point("Old", "a.xhtml"));
  parts.more_manifest += navigation_item;
  parts.more.emplace_back("nav.xhtml", navigation("<li><a href='a.xhtml'>New</a></li>"));
  EXPECT_EQ(outline(parse(parts)), "[New]\na\n");
  parts.more.back().second = navigation("<li><a href='gone.xhtml'>New</a></li>");
  EXPECT_EQ(outline(parse(parts)), "[Old]\na\n") << "nothing that it says can be found";
}

TEST(EpubDocument, ADamagedTableOfContentsIsAWarningAndHeadingsCount) {
  EpubParts parts = epub_2({{"a.xhtml", "<h1>One</h1><p>a</p>"}, {"b.xhtml", "<h1>Two</h1><p>b</p>"}}, "<navPoint>");
  const Document document = parse(parts);
  EXPECT_EQ(outline(document), "[One]\n# One\na\n[Two]\n# Two\nb\n");
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_NE(document.warnings[0].find("book.epub: OEBPS/toc.ncx: not well-formed XML"), std::string::npos);
}

TEST(EpubDocument, PartsAreJoinedWithTheirFirstChapters) {
  EXPECT_EQ(outline(parse(epub_2(
                {{"p1.xhtml", "<h1>Part One</h1>"}, {"a.xhtml", "<p>a</p>"}, {"b.xhtml", "<p>b</p>"}},
                ncx_point("Part One", "p1.xhtml", ncx_point("First", "a.xhtml") + ncx_point("Second", "b.xhtml"))))),
            "[Part One: First]\n# Part One\na\n[Second]\nb\n");
}

TEST(EpubDocument, SectionsInThePageOfTheirChapterAreNoChapters) {
  const Members pages = {{"a.xhtml", "<h1>One</h1><p>a</p><h2 id='s'>Section</h2><p>b</p><h2 id='t'>T</h2><p>c</p>"},
                         {"b.xhtml", "<h1>Two</h1><p>d</p>"}};
  const std::string one = "<a href='a.xhtml'>One</a><ol><li><a href='a.xhtml#s'>Section</a></li><li><a "
                          "href='a.xhtml#t'>T</a></li></ol>";
  EXPECT_EQ(outline(parse(navigated(pages, "<li>" + one + "</li><li><a href='b.xhtml'>Two</a></li>"))),
            "[One]\n# One\na\n# Section\nb\n# T\nc\n[Two]\n# Two\nd\n");
  EXPECT_EQ(outline(parse(navigated(pages, "<li>" + one + "</li>"))),
            "[One]\n# One\na\n[Section]\n# Section\nb\n[T]\n# T\nc\n# Two\nd\n")
      << "a single point above them is the book";
}

TEST(EpubDocument, WithoutATableOfContentsHeadingsBeginChapters) {
  EXPECT_EQ(
      outline(parse({.pages = {{"a.xhtml", "<h2>One</h2><p>a</p>"}, {"b.xhtml", "<p>b</p><h2>Two</h2><p>c</p>"}}})),
      "[One]\n# One\na\nb\n[Two]\n# Two\nc\n");
}

TEST(EpubDocument, WhatIsNoStoryIsLeftOut) {
  for (const std::string part :
       {"<section epub:type='copyright-page'><p>no</p></section>", "<section epub:type='toc'><p>no</p></section>",
        "<aside epub:type='footnote' id='n'><p>no</p></aside>", "<section role='doc-endnotes'><p>no</p></section>",
        "<a epub:type='noteref' href='#n'>no</a>", "<span epub:type='pagebreak' title='5'>no</span>",
        "<section epub:type='index'><p>no</p></section>", "<div epub:type='cover'>no</div>",
        "<nav epub:type='page-list'><ol><li>no</li></ol></nav>"}) {
    EXPECT_EQ(outline(parse({.pages = {{"a.xhtml", "<p>Once" + part + "</p><p>upon</p>"}}})), "[]\nOnce\nupon\n")
        << part;
  }
  EpubParts parts{.pages = {{"a.xhtml", "<p>Once.</p>"}, {"b.xhtml", "<p>no</p>"}}};
  Members members = testing::epub_members(parts);
  for (auto& [name, bytes] : members) {
    const std::size_t at = name == "OEBPS/b.xhtml" ? bytes.find("<body>") : std::string::npos;
    bytes = at == std::string::npos ? bytes : bytes.replace(at, 6, "<body epub:type='backmatter colophon'>");
  }
  EXPECT_EQ(outline(parse_document(testing::zip(members), "book.epub")), "[]\nOnce.\n");
}

TEST(EpubDocument, NotesAreLeftOutWhereverTheyAre) {
  EXPECT_EQ(
      outline(parse({.pages = {{"a.xhtml", "<p>Once<sup><a href='notes.xhtml#n1' id='r'>1</a></sup>.</p>"},
                               {"b.xhtml", "<p>Then<a href='#n2'>[2]</a>.</p><p id='n2'><a href='#x'>[2]</a> no</p>"},
                               {"notes.xhtml", "<p id='n1'><a href='a.xhtml#r'>1</a> no</p><p>yes</p>"}}})),
      "[]\nOnce.\nThen.\nyes\n");
}

TEST(EpubDocument, PagesThatGuideOrLandmarksCallContentsOrCoverAreLeftOut) {
  EpubParts parts = epub_2({{"cover.xhtml", "<p>no</p>"}, {"toc.xhtml", "<p>no</p>"}, {"a.xhtml", "<p>a</p>"}}, "");
  parts.guide = "<guide><reference type='cover' href='cover.xhtml'/><reference type='toc' href='toc.xhtml'/><reference "
                "type='text' href='a.xhtml'/></guide>";
  EXPECT_EQ(outline(parse(parts)), "[]\na\n");
  parts = navigated({{"cover.xhtml", "<p>no</p>"}, {"a.xhtml", "<p>a</p>"}},
                    "<li><a href='a.xhtml'>First</a></li></ol></nav><nav epub:type='landmarks'><ol><li>"
                    "<a epub:type='cover' href='cover.xhtml'>C</a></li>");
  EXPECT_EQ(outline(parse(parts)), "[First]\na\n");
}

TEST(EpubDocument, TheNavigationDocumentAndPagesOfLinksAreLeftOut) {
  EpubParts parts =
      navigated({{"toc.xhtml", "<h1>Contents</h1><p><a href='a.xhtml'>The first chapter</a></p><p><a "
                               "href='b.xhtml'>The second chapter</a></p><p><a href='c'>The third</a></p>"},
                 {"a.xhtml", "<p>a</p>"}},
                "<li><a href='a.xhtml'>First</a></li>");
  parts.more_spine = "<itemref idref='nav'/>";
  EXPECT_EQ(outline(parse(parts)), "[First]\na\n");
}

TEST(EpubDocument, APageThatIsMissingIsAWarning) {
  EpubParts parts{.pages = {{"a.xhtml", "<p>a</p>"}}};
  parts.more_manifest = R"(<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>)";
  parts.more_manifest += R"(<item id="s" href="a.svg" media-type="image/svg+xml"/>)";
  parts.more_spine = R"(<itemref idref="b"/><itemref idref="nowhere"/><itemref idref="s"/>)";
  parts.more = {{"a.svg", "<svg/>"}};
  const Document document = parse(parts);
  EXPECT_EQ(outline(document), "[]\na\n");
  ASSERT_EQ(document.warnings.size(), 3u);
  EXPECT_EQ(document.warnings[2], "book.epub: 'OEBPS/a.svg' is image/svg+xml, not a page of text: it was left out");
  EXPECT_EQ(document.warnings[0],
            "book.epub: 'OEBPS/b.xhtml' is in the reading order but not in the archive: it was left out");
}

TEST(EpubDocument, ABookThatIsEncryptedIsRefusedAndOneWithHiddenFontsIsNot) {
  const auto encrypted = [](const std::string& algorithm) {
    Members members = testing::epub_members({.pages = {{"a.xhtml", "<p>a</p>"}}});
    members.emplace_back("META-INF/encryption.xml",
                         "<encryption xmlns='urn:oasis:names:tc:opendocument:xmlns:container' "
                         "xmlns:enc='http://www.w3.org/2001/04/xmlenc#'><enc:EncryptedData><enc:EncryptionMethod "
                         "Algorithm='" +
                             algorithm +
                             "'/><enc:CipherData><enc:CipherReference URI='OEBPS/a.xhtml'/></enc:CipherData>"
                             "</enc:EncryptedData></encryption>");
    return testing::zip(members);
  };
  EXPECT_EQ(refusal(encrypted("http://www.w3.org/2001/04/xmlenc#aes256-cbc"), "book.epub"),
            "book.epub: encrypted (DRM): 'OEBPS/a.xhtml' can only be read by the reader that it was sold for");
  EXPECT_EQ(refusal(encrypted("http://www.idpf.org/2008/embedding"), "book.epub"), "");
}

TEST(EpubDocument, RefusalsSayWhatIsWrong) {
  EXPECT_EQ(refusal(testing::zip({{"a", "b"}}), "b.epub"),
            "b.epub: not an EPUB: the archive has no META-INF/container.xml");
  EXPECT_EQ(refusal(testing::zip({{"META-INF/container.xml", "<container/>"}}), "b.epub"),
            "b.epub: META-INF/container.xml: names no package document");
  EXPECT_EQ(refusal(testing::zip({{"META-INF/container.xml", testing::container}}), "b.epub"),
            "b.epub: the archive has no member 'OEBPS/book.opf'");
  EXPECT_EQ(refusal(epub({}), "b.epub"), "b.epub: OEBPS/book.opf: names no page to read");
  EXPECT_EQ(refusal(epub({.pages = {{"a.xhtml", ""}}}), "b.epub").find("b.epub: nothing to read aloud in"), 0u);
  EXPECT_EQ(refusal(epub({.metadata = "<dc:title>&x;</dc:title>", .pages = {{"a.xhtml", "<p>a</p>"}}}), "b.epub"), "");
}

TEST(EpubDocument, NothingOutsideIsOpenedAndNothingGrows) {
  Members members = testing::epub_members({.pages = {{"a.xhtml", "<p>a</p>"}}});
  const auto with_doctype = [&](const std::string& file, const std::string& doctype) {
    Members changed = members;
    for (auto& [name, bytes] : changed) {
      bytes = name == file ? "<?xml version='1.0'?>" + doctype + bytes.substr(bytes.find("?>") + 2) : bytes;
    }
    return testing::zip(changed);
  };
  const std::string laughs = "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>";
  const std::string external = "<!DOCTYPE l [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>";
  for (const std::string& doctype : {laughs, external}) {
    EXPECT_EQ(refusal(with_doctype("OEBPS/book.opf", doctype), "b.epub"),
              "b.epub: OEBPS/book.opf: declares XML entities of its own (<!ENTITY), which are not read");
    EXPECT_EQ(refusal(with_doctype("OEBPS/a.xhtml", doctype), "b.epub"),
              "b.epub: OEBPS/a.xhtml: declares XML entities of its own (<!ENTITY), which are not read");
  }
}

TEST(EpubDocument, LimitsOfPagesCount) {
  const std::string book = epub({.pages = {{"a.xhtml", "<p>" + std::string(3000, 'a') + "</p>"},
                                           {"b.xhtml", "<p>" + std::string(3000, 'b') + "</p>"}}});
  EXPECT_EQ(refusal(book, "b.epub", {.max_text_bytes = 10'000}), "");
  EXPECT_EQ(refusal(book, "b.epub", {.max_text_bytes = 5000}),
            "b.epub: its pages have more than the limit of 5000 bytes unpacked");
  EXPECT_NE(refusal(book, "b.epub", {.max_bytes = 2500}).find("more than the limit of 2500"), std::string::npos);
}

} // namespace
} // namespace audiobookd::jobs
