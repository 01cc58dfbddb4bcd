// Plain text documents: encodings, paragraphs, headings, chapters, refusals.
#include "jobs/document/document.h"
#include "jobs/document/text_document.h"

#include <gtest/gtest.h>
#include <string>
#include <string_view>

namespace audiobookd::jobs {
namespace {

using namespace std::string_literals;

/// The texts of all paragraphs, one a line; headings begin with "# ", scene breaks are "~".
std::string outline(const Document& document) {
  std::string result;
  for (const Chapter& chapter : document.chapters) {
    for (const Paragraph& paragraph : chapter.paragraphs) {
      switch (paragraph.kind) {
      case ParagraphKind::body: result += paragraph.text + "\n"; break;
      case ParagraphKind::heading: result += "# " + paragraph.text + "\n"; break;
      case ParagraphKind::scene_break: result += "~\n"; break;
      }
    }
  }
  return result;
}

std::string outline(std::string_view text) { return outline(parse_text(text, "book.txt")); }

std::string titles(std::string_view text) {
  std::string result;
  for (const Chapter& chapter : parse_text(text, "book.txt").chapters) {
    result += "[" + chapter.title + "]";
  }
  return result;
}

/// What parse_document() says when it refuses; empty if it does not.
std::string refusal(std::string_view bytes, const std::string& name = "book.txt", const DocumentLimits& limits = {}) {
  try {
    parse_document(bytes, name, limits);
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "";
}

std::string utf16(std::u16string_view text, bool big_endian) {
  std::string bytes;
  for (const char16_t unit : text) {
    const char high = static_cast<char>(unit >> 8);
    const char low = static_cast<char>(unit & 0xff);
    bytes += big_endian ? std::string{high, low} : std::string{low, high};
  }
  return bytes;
}

TEST(TextEncoding, Utf8IsTakenAsItIs) {
  EXPECT_EQ(outline("“Où?” – 東京 🙂"), "“Où?” – 東京 🙂\n");
}

TEST(TextEncoding, AByteOrderMarkIsNotText) { EXPECT_EQ(outline("\xef\xbb\xbfHello."), "Hello.\n"); }

TEST(TextEncoding, Utf16IsReadInBothByteOrders) {
  const std::u16string_view text = u"\ufeffÆon – 🙂\r\n\r\nTwo.";
  EXPECT_EQ(outline(utf16(text, false)), "Æon – 🙂\nTwo.\n");
  EXPECT_EQ(outline(utf16(text, true)), "Æon – 🙂\nTwo.\n");
}

TEST(TextEncoding, DamagedUtf16IsRefusedWithItsOffset) {
  EXPECT_EQ(refusal(utf16(u"\ufeffab", false) + "c"),
            "book.txt: not a text file: half a UTF-16 code unit at byte offset 6");
  const char16_t lone_surrogate[] = {0xfeff, u'a', 0xd83d, u'b'};
  EXPECT_EQ(refusal(utf16({lone_surrogate, 4}, false)),
            "book.txt: not a text file: half a UTF-16 surrogate pair at byte offset 4");
}

TEST(TextEncoding, Windows1252IsReadWithAWarning) {
  const Document document = parse_text("caf\xe9 \x93quoted\x94 \x97 \x80 5", "old.txt");
  EXPECT_EQ(outline(document), "café “quoted” — € 5\n");
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_EQ(document.warnings[0], "old.txt: not UTF-8 (byte offset 3), read as Windows-1252; save it as UTF-8 if "
                                  "letters come out wrong");
}

TEST(TextEncoding, Utf8HasNoWarning) { EXPECT_TRUE(parse_text("café", "book.txt").warnings.empty()); }

TEST(TextEncoding, DamagedUtf8IsNotMistakenForWindows1252) {
  EXPECT_EQ(refusal("Où ça? Là-b\xe0s, très près."), "book.txt: not a text file: damaged UTF-8 at byte offset 14");
}

TEST(TextEncoding, ABomPromisesUtf8) {
  EXPECT_EQ(refusal("\xef\xbb\xbf"
                    "caf\xe9 noir"),
            "book.txt: not a text file: damaged UTF-8 at byte offset 6");
}

TEST(TextEncoding, ByteUndefinedInWindows1252IsRefused) {
  EXPECT_EQ(refusal("abc\x81 d\xe9j\xe0"),
            "book.txt: not a text file: byte 0x81, neither UTF-8 nor Windows-1252, at byte offset 3");
}

TEST(TextEncoding, BinaryFilesAreRefusedWithTheOffset) {
  EXPECT_EQ(refusal("abc\0def"s), "book.txt: not a text file: control character U+0000 at byte offset 3");
  EXPECT_EQ(refusal("\x7f"
                    "ELF\x02"),
            "book.txt: not a text file: control character U+007F at byte offset 0");
  EXPECT_EQ(refusal("ab\x1b[31mred"), "book.txt: not a text file: control character U+001B at byte offset 2");
  EXPECT_EQ(refusal("\xe9t\xe9\0"s), "book.txt: not a text file: control character U+0000 at byte offset 3");
}

TEST(TextEncoding, AllLineEndsAreTheSame) {
  const std::string expected = "one two\nthree\n";
  EXPECT_EQ(outline("one\ntwo\n\nthree\n"), expected);
  EXPECT_EQ(outline("one\r\ntwo\r\n\r\nthree\r\n"), expected);
  EXPECT_EQ(outline("one\rtwo\r\rthree"), expected);
  EXPECT_EQ(outline("one\u2028two\u2029three"), expected);
  EXPECT_EQ(outline("one\u0085two\fthree"), expected);
}

TEST(TextDocument, HardWrappedLinesAreOneParagraph) {
  EXPECT_EQ(outline("It was a dark\nand stormy\t night;\nthe rain   fell.\n\n\n\nThen it stopped.\n"),
            "It was a dark and stormy night; the rain fell.\nThen it stopped.\n");
}

TEST(TextDocument, LongLinesAreParagraphsOfTheirOwn) {
  const std::string line(130, 'x');
  EXPECT_EQ(outline("“Yes.”\n" + line + "\n“No.”"), "“Yes.”\n" + line + "\n“No.”\n");
}

TEST(TextDocument, AnIndentedLineBeginsAParagraphAmongFlushOnes) {
  EXPECT_EQ(outline("  One begins\nand goes on.\n  “Two.”\n\tThree ends\nhere.\n"),
            "One begins and goes on.\n“Two.”\nThree ends here.\n");
}

TEST(TextDocument, ABlockIndentedAsAWholeIsOneParagraph) {
  EXPECT_EQ(outline("He wrote:\n\n    Come home\n    at once.\n"), "He wrote:\nCome home at once.\n");
}

TEST(TextDocument, AHyphenThatDividesAWordGoes) {
  EXPECT_EQ(outline("The light-\nhouse stood.\n\nA Lighthouse it was."),
            "The lighthouse stood.\nA Lighthouse it was.\n");
}

TEST(TextDocument, AHyphenOfItsOwnStays) {
  EXPECT_EQ(outline("A well-\nknown man, in the 1920-\n30 season --\nor so.\n"),
            "A well-known man, in the 1920- 30 season -- or so.\n");
}

TEST(TextDocument, SoftHyphensGo) {
  EXPECT_EQ(outline("A mis\u00adtake at the light\u00ad\nhouse."), "A mistake at the lighthouse.\n");
}

TEST(TextDocument, ChaptersBeginAtNumberedHeadings) {
  const std::string text = "CHAPTER I\n\nIt began.\n\nChapter Two: The Storm\n\nIt went on.\n\nEpilogue\nIt ended.\n";
  EXPECT_EQ(outline(text), "# CHAPTER I\nIt began.\n# Chapter Two: The Storm\nIt went on.\n# Epilogue\nIt ended.\n");
  EXPECT_EQ(titles(text), "[CHAPTER I][Chapter Two: The Storm][Epilogue]");
}

TEST(TextDocument, ShapesOfNumberedHeadings) {
  for (const std::string heading :
       {"Chapter IX", "CHAPTER 1: Title", "Part Two", "PART THE FIRST", "Book 3 — The Sea", "Chapter Twenty-One",
        "Chapter 12 The Door", "XIV.", "III", "Prologue", "EPILOGUE: After", "Volume II", "Appendix B",
        "Chapter XLIV. In Which Nothing Happens"}) {
    EXPECT_EQ(outline("Before.\n\n" + heading + "\n\nAfter."), "Before.\n# " + heading + "\nAfter.\n");
    EXPECT_EQ(titles("Before.\n\n" + heading + "\n\nAfter."), "[][" + heading + "]");
  }
}

TEST(TextDocument, ProseThatResemblesAHeadingIsProse) {
  for (const std::string prose :
       {"Chapter nine was the worst of it.", "Part two of the plan was simple.", "Introductions were made.", "STOP!",
        "“NO ENTRY”", "I.O.U.", "chapter 4", "Book One - the red one - lay there and\nnobody read it.", "A", "Acting 1",
        "He said: CHAPTER I"}) {
    const std::string text = "Before.\n\n" + prose + "\n\nAfter.";
    EXPECT_EQ(parse_text(text, "book.txt").chapters.size(), 1u) << prose;
    EXPECT_EQ(outline(text).find('#'), std::string::npos) << prose;
  }
}

TEST(TextDocument, TheTitleOfANumberedHeadingMayStandBelowIt) {
  const std::string outlined = "# Chapter 1\n# The Storm\nIt blew.\n";
  EXPECT_EQ(outline("Chapter 1\n\nThe Storm\n\nIt blew."), outlined);
  EXPECT_EQ(outline("Chapter 1\nThe Storm\n\nIt blew."), outlined);
  EXPECT_EQ(titles("Chapter 1\nThe Storm\n\nIt blew."), "[Chapter 1: The Storm]");
  EXPECT_EQ(outline("Chapter 1: Rain\n\nThe Storm\n\nIt blew."), "# Chapter 1: Rain\nThe Storm\nIt blew.\n");
}

TEST(TextDocument, HeadingsInARowAreOneChapter) {
  EXPECT_EQ(titles("PART ONE\n\nCHAPTER 1\n\nThe Sea\n\nBlue.\n\nCHAPTER 2\n\nGrey."),
            "[PART ONE: CHAPTER 1: The Sea][CHAPTER 2]");
}

TEST(TextDocument, CapitalsInFrontOfANumberedHeadingAreTheTitleOfTheDocument) {
  const std::string text =
      "THE LAMP AT\nGREYHOLM\n\nChapter One\n\nLight.\n\nMAP ROOM\n\nDark.\n\nChapter Two\n\nDawn.";
  const Document document = parse_text(text, "book.txt");
  EXPECT_EQ(document.title, "THE LAMP AT GREYHOLM");
  EXPECT_EQ(titles(text), "[Chapter One][Chapter Two]");
  EXPECT_EQ(outline(document),
            "# THE LAMP AT GREYHOLM\n# Chapter One\nLight.\n# MAP ROOM\nDark.\n# Chapter Two\nDawn.\n");
}

TEST(TextDocument, CapitalsBeginChaptersWhereNothingIsNumbered) {
  const std::string text = "THE SEA\n\nBlue.\n\nTHE SHORE\n\nGrey.";
  EXPECT_EQ(titles(text), "[THE SEA][THE SHORE]");
  EXPECT_EQ(parse_text(text, "book.txt").title, "");
}

TEST(TextDocument, CapitalsAreAHeadingOnlyBetweenBlankLines) {
  EXPECT_EQ(outline("He read\nTHE TIMES\nevery day."), "He read THE TIMES every day.\n");
}

TEST(TextDocument, TextBeforeTheFirstHeadingIsAChapterWithoutTitle) {
  EXPECT_EQ(titles("For my mother.\n\nChapter 1\n\nOnce."), "[][Chapter 1]");
}

TEST(TextDocument, SceneBreaksAreRecognised) {
  for (const std::string mark : {"* * *", "***", "#", "---", "— — —", "⁂", "•", "~~~", "   *   *   *"}) {
    EXPECT_EQ(outline("One.\n\n" + mark + "\n\nTwo."), "One.\n~\nTwo.\n") << mark;
    EXPECT_EQ(outline("One.\n" + mark + "\nTwo."), "One.\n~\nTwo.\n") << mark;
  }
  for (const std::string other : {"-", "—", "=", "…", "# 5", "?"}) {
    EXPECT_EQ(outline("One.\n\n" + other + "\n\nTwo."), "One.\n" + other + "\nTwo.\n");
  }
}

TEST(TextDocument, SceneBreaksAtTheEdgesOfChaptersAreDropped) {
  EXPECT_EQ(outline("***\n\nChapter 1\n=========\n\nOne.\n\n***\n\n***\n\nTwo.\n\n***\n\nChapter 2\n\nThree.\n\n***\n"),
            "# Chapter 1\nOne.\n~\nTwo.\n# Chapter 2\nThree.\n");
}

TEST(TextDocument, ADocumentWithNothingToReadIsRefused) {
  EXPECT_EQ(refusal(""), "book.txt: nothing to read aloud in 0 bytes");
  EXPECT_EQ(refusal(" \r\n\t\n"), "book.txt: nothing to read aloud in 5 bytes");
  EXPECT_EQ(refusal("\xef\xbb\xbf"), "book.txt: nothing to read aloud in 3 bytes");
  EXPECT_EQ(refusal("* * *\n\n---\n"), "book.txt: nothing to read aloud in 11 bytes");
  EXPECT_EQ(refusal("\xc2\xad\n"), "book.txt: nothing to read aloud in 3 bytes");
}

TEST(TextDocument, TheSizeLimitIsInBytesAndInclusive) {
  EXPECT_EQ(refusal("12345", "book.txt", {.max_bytes = 5}), "");
  EXPECT_EQ(refusal("123456", "book.txt", {.max_bytes = 5}), "book.txt: 6 bytes, more than the limit of 5");
}

TEST(TextDocument, TheLicenceOfProjectGutenbergIsLeftOut) {
  const Document document =
      parse_text("The Project Gutenberg eBook of A Tale\n\nTitle: A Tale\n\nAuthor: Ann Author\n\n"
                 "Language: English\n\n*** START OF THE PROJECT GUTENBERG EBOOK A\nTALE ***\n\nOnce.\n\n"
                 "*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\n\nMuch licence.\n",
                 "pg.txt");
  EXPECT_EQ(outline(document), "Once.\n");
  EXPECT_EQ(document.title, "A Tale");
  EXPECT_EQ(document.author, "Ann Author");
  EXPECT_EQ(document.language, "en");
  EXPECT_EQ(outline("Before *** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nafter"),
            "Before *** START OF THE PROJECT GUTENBERG EBOOK X ***\nafter\n")
      << "only on a line of its own";
}

constexpr const char* others = ".txt, .text, .md, .markdown, .html, .htm, .xhtml, .epub, .docx";

TEST(ParseDocument, TheExtensionChoosesTheParser) {
  EXPECT_EQ(refusal("Hello.", "a/b.TXT"), "");
  EXPECT_EQ(outline(parse_document("*Hello*", "a/b.text")), "*Hello*\n");
  EXPECT_EQ(outline(parse_document("*Hello*", "a/b.md")), "Hello\n");
  EXPECT_EQ(outline(parse_document("*Hello*", "a/b.MarkDown")), "Hello\n");
  EXPECT_EQ(outline(parse_document("<p>Hello", "a/b.htm")), "Hello\n");
  EXPECT_EQ(refusal("Hello.", "a/b.pdf"),
            std::string("a/b.pdf: documents of type \".pdf\" are not supported; supported are ") + others);
  EXPECT_EQ(refusal("Hello.", "b"),
            std::string("b: documents of type \"\" are not supported; supported are ") + others);
}

TEST(ParseDocument, ContentThatIsNotWhatTheNameSaysIsNamed) {
  const auto expect = [](const std::string& bytes, const std::string& name, const std::string& what) {
    EXPECT_EQ(refusal(bytes, name), name + ": its content is " + what +
                                        ", not what its name says; its extension should "
                                        "say what it is, one of " +
                                        others);
  };
  expect("%PDF-1.7\n...", "book.txt", "a PDF");
  expect("PK\x03\x04...", "book.txt", "a ZIP archive (EPUB, docx or ODT)");
  expect("<!DOCTYPE html><p>Hello", "book.txt", "an HTML page");
  expect("\xef\xbb\xbf \n<HTML>", "book.md", "an HTML page");
  expect("PK\x03\x04...", "book.html", "a ZIP archive (EPUB, docx or ODT)");
  expect("Hello.", "book.html", "plain text or unknown");
  expect("Hello.", "book.epub", "plain text or unknown");
  expect("<html>", "book.epub", "an HTML page");
  expect("", "book.epub", "plain text or unknown");
  expect("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "book.docx", "an old or encrypted Office document");
  expect(std::string(60, 'x') + "BOOKMOBI", "book.epub", "a Kindle book (MOBI)");
  expect("{\\rtf1", "book.docx", "an RTF document");
}

TEST(ParseDocument, ArchivesMayBeLargerThanTexts) {
  const DocumentLimits limits{.max_bytes = 5, .max_archive_bytes = 50};
  EXPECT_EQ(max_file_bytes("a.txt", limits), 5u);
  EXPECT_EQ(max_file_bytes("a.html", limits), 5u);
  EXPECT_EQ(max_file_bytes("a.pdf", limits), 5u);
  EXPECT_EQ(max_file_bytes("a.EPUB", limits), 50u);
  EXPECT_EQ(max_file_bytes("a.docx", limits), 50u);
}

} // namespace
} // namespace audiobookd::jobs
