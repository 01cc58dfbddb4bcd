// The chunker: nothing lost, nothing too long, cuts where a reader would pause.
#include "jobs/chunker.h"
#include "jobs/document/text_document.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <unicode/uchar.h>
#include <vector>

namespace audiobookd::jobs {
namespace {

/// One token a character: caps in these tests can be counted by eye.
int one_a_character(std::string_view text) { return static_cast<int>(count_characters(text)); }
int as_in_english(std::string_view text) {
  return static_cast<int>(std::ceil(1.55 * static_cast<double>(count_characters(text))));
}

ChunkerOptions cap(int max_tokens, int min_characters = 1) {
  return {.max_tokens = max_tokens, .min_characters = min_characters, .predict_tokens = one_a_character};
}

Document one_paragraph(std::string text, ParagraphKind kind = ParagraphKind::body) {
  Document document;
  document.chapters.push_back({.title = "", .paragraphs = {{.text = std::move(text), .kind = kind}}});
  return document;
}

std::vector<std::string> texts(const std::vector<Chunk>& chunks) {
  std::vector<std::string> result;
  std::transform(chunks.begin(), chunks.end(), std::back_inserter(result), [](const Chunk& c) { return c.text; });
  return result;
}

std::vector<std::string> cut(std::string text, const ChunkerOptions& options) {
  return texts(chunk_document(one_paragraph(std::move(text)), options));
}

std::string without_white_space(std::string_view text) {
  std::string result;
  for_each_code_point(text, [&](UChar32 code_point, std::size_t begin, std::size_t end) {
    result += u_isUWhiteSpace(code_point) ? "" : text.substr(begin, end - begin);
  });
  return result;
}

using Strings = std::vector<std::string>;

/// Everything that holds for every document: nothing lost, doubled or moved, every chunk within the cap, fields right.
void expect_promises(const Document& document, const ChunkerOptions& options) {
  const std::vector<Chunk> chunks = chunk_document(document, options);
  std::map<std::pair<std::size_t, std::size_t>, std::string> joined;
  std::map<std::pair<std::size_t, std::string>, int> seen;
  std::pair<std::size_t, std::size_t> last{0, 0};
  for (const Chunk& chunk : chunks) {
    const std::pair place{chunk.chapter, chunk.paragraph};
    EXPECT_LE(last, place) << "out of order: " << chunk.text;
    last = place;
    joined[place] += without_white_space(chunk.text);
    EXPECT_FALSE(chunk.text.empty());
    EXPECT_FALSE(u_isUWhiteSpace(first_code_point(chunk.text)) || u_isUWhiteSpace(last_code_point(chunk.text)));
    EXPECT_EQ(chunk.predicted_tokens, options.predict_tokens(chunk.text));
    EXPECT_LE(chunk.predicted_tokens, options.max_tokens) << chunk.text;
    EXPECT_EQ(chunk.occurrence, (seen[{chunk.chapter, chunk.text}]++));
    EXPECT_EQ(chunk.follows == Follows::end, &chunk == &chunks.back());
  }
  for (std::size_t c = 0; c < document.chapters.size(); ++c) {
    for (std::size_t p = 0; p < document.chapters[c].paragraphs.size(); ++p) {
      const Paragraph& paragraph = document.chapters[c].paragraphs[p];
      const bool silent = paragraph.kind == ParagraphKind::scene_break;
      EXPECT_EQ((joined[{c, p}]), silent ? "" : without_white_space(paragraph.text)) << "chapter " << c << ", " << p;
    }
  }
  EXPECT_EQ(texts(chunks), texts(chunk_document(document, options))) << "not deterministic";
}

TEST(Chunker, SentencesArePackedUpToTheCap) {
  EXPECT_EQ(cut("One is here. Two is here. Three is here. Four is here.", cap(30)),
            (Strings{"One is here. Two is here.", "Three is here. Four is here."}));
}

TEST(Chunker, AParagraphThatFitsIsOneChunk) {
  EXPECT_EQ(cut("One. Two! Three?", cap(16)), (Strings{"One. Two! Three?"}));
}

TEST(Chunker, ChunksOfAParagraphAreEvenlyFilled) {
  EXPECT_EQ(cut("Aaaa aaaa. Bbbb bbbb. Cccc cccc. Dddd dddd.", cap(35)),
            (Strings{"Aaaa aaaa. Bbbb bbbb.", "Cccc cccc. Dddd dddd."}));
}

TEST(Chunker, TheFirstSentenceOfADocumentCanStandAlone) {
  ChunkerOptions options = cap(35);
  options.first_sentence_alone = true;
  EXPECT_EQ(cut("Aaaa aaaa. Bbbb bbbb. Cccc cccc. Dddd dddd.", options),
            (Strings{"Aaaa aaaa.", "Bbbb bbbb. Cccc cccc. Dddd dddd."}));
  options.min_characters = 12;
  EXPECT_EQ(cut("Aaaa aaaa. Bbbb bbbb. Cccc cccc. Dddd dddd.", options),
            (Strings{"Aaaa aaaa. Bbbb bbbb.", "Cccc cccc. Dddd dddd."}))
      << "what is too short takes a second one";
  EXPECT_EQ(cut("Aaaa aaaa aaaa. Bbbb.", options), Strings{"Aaaa aaaa aaaa. Bbbb."}) << "the rest would be too short";
  Document document = one_paragraph("The Title", ParagraphKind::heading);
  document.chapters[0].paragraphs.push_back({.text = "Aaaa aaaa aa. Bbbb bbbb bb.", .kind = ParagraphKind::body});
  EXPECT_EQ(texts(chunk_document(document, options)), (Strings{"The Title", "Aaaa aaaa aa. Bbbb bbbb bb."}));
  expect_promises(document, options);
}

TEST(Chunker, SpeechIsKeptWhole) {
  EXPECT_EQ(cut("He rose up. “Sit down. Eat now. I will tell you,” she said. He ate.", cap(55)),
            (Strings{"He rose up.", "“Sit down. Eat now. I will tell you,” she said. He ate."}));
}

TEST(Chunker, SpeechIsCutBetweenItsSentencesWhenItIsTooLong) {
  EXPECT_EQ(cut("“The sea was high. The wind was loud. The night was black. We saw nothing at all.”", cap(45)),
            (Strings{"“The sea was high. The wind was loud.", "The night was black. We saw nothing at all.”"}));
}

TEST(Chunker, ALongSentenceIsCutAtClausesThenCommasThenConjunctionsThenSpaces) {
  EXPECT_EQ(cut("The lamp was lit, as ever; the keeper, who was old, slept in it.", cap(40)),
            (Strings{"The lamp was lit, as ever;", "the keeper, who was old, slept in it."}));
  EXPECT_EQ(cut("The lamp was lit again—the old keeper slept in his chair", cap(40)),
            (Strings{"The lamp was lit again—", "the old keeper slept in his chair"}));
  EXPECT_EQ(cut("The lamp was lit – the old keeper slept in his chair", cap(40)),
            (Strings{"The lamp was lit –", "the old keeper slept in his chair"}));
  EXPECT_EQ(cut("The lamp was lit and glowed, the old keeper slept in his chair", cap(40)),
            (Strings{"The lamp was lit and glowed,", "the old keeper slept in his chair"}));
  EXPECT_EQ(cut("The lamp was lit above them and the old keeper slept there", cap(40)),
            (Strings{"The lamp was lit above them", "and the old keeper slept there"}));
  EXPECT_EQ(cut("The lamp shone in the window of the old house by the sea", cap(30)),
            (Strings{"The lamp shone in the window", "of the old house by the sea"}));
}

TEST(Chunker, NumbersAreNotCutAtTheirCommas) {
  EXPECT_EQ(cut("There were 1,000,000 of them all told", cap(21)),
            (Strings{"There were 1,000,000", "of them all told"}));
}

TEST(Chunker, NothingIsCutBetweenATitleAndAName) {
  EXPECT_EQ(cut("Yesterday we saw Mr. Smith there", cap(20)), (Strings{"Yesterday we saw", "Mr. Smith there"}));
}

TEST(Chunker, AWordIsCutOnlyIfItExceedsTheCapAlone) {
  EXPECT_EQ(cut("A wordwithinthecap it is", cap(17)), (Strings{"A", "wordwithinthecap", "it is"}));
  EXPECT_EQ(cut("abcdefghij", cap(4)), (Strings{"abcd", "efgh", "ij"}));
}

TEST(Chunker, GraphemesStayWholeInsideAWordThatIsCut) {
  EXPECT_EQ(cut("👨‍👩‍👧👨‍👩‍👧👨‍👩‍👧", cap(12)),
            (Strings{"👨‍👩‍👧👨‍👩‍👧", "👨‍👩‍👧"}));
}

TEST(Chunker, ShortChunksJoinANeighbour) {
  EXPECT_EQ(cut("The keeper was asleep in his old chair. He woke.", cap(46, 20)),
            (Strings{"The keeper was asleep in", "his old chair. He woke."}));
  EXPECT_EQ(cut("He woke. The keeper had slept for two hours. He got up.", cap(50, 20)),
            (Strings{"He woke. The keeper had slept", "for two hours. He got up."}));
}

TEST(Chunker, ShortParagraphsStayAlone) {
  Document document = one_paragraph("“Yes.”");
  document.chapters[0].paragraphs.push_back({.text = "“No.”", .kind = ParagraphKind::body});
  EXPECT_EQ(texts(chunk_document(document, cap(100, 20))), (Strings{"“Yes.”", "“No.”"}));
}

TEST(Chunker, HeadingsStandAloneAndAreMarked) {
  const Document document = parse_text("CHAPTER I\n\nThe Sea\n\nBlue it was. Grey it became.", "book.txt");
  const std::vector<Chunk> chunks = chunk_document(document, cap(100, 20));
  EXPECT_EQ(texts(chunks), (Strings{"CHAPTER I", "The Sea", "Blue it was. Grey it became."}));
  EXPECT_TRUE(chunks[0].is_heading);
  EXPECT_TRUE(chunks[1].is_heading);
  EXPECT_FALSE(chunks[2].is_heading);
}

TEST(Chunker, EveryChunkKnowsWhatFollows) {
  const Document document =
      parse_text("CHAPTER I\n\nThe sea was blue. The sky was grey.\n\nNext.\n\n* * *\n\nAfter.\n\nCHAPTER II\n\nLast.",
                 "book.txt");
  std::vector<Follows> follows;
  for (const Chunk& chunk : chunk_document(document, cap(18))) {
    follows.push_back(chunk.follows);
  }
  EXPECT_EQ(follows, (std::vector{Follows::paragraph, Follows::sentence, Follows::paragraph, Follows::scene,
                                  Follows::chapter, Follows::paragraph, Follows::end}));
}

TEST(Chunker, ChaptersAndParagraphsAreCountedAsInTheDocument) {
  const Document document = parse_text("CHAPTER I\n\nOne.\n\n***\n\nTwo.\n\nCHAPTER II\n\nThree.", "book.txt");
  std::vector<std::pair<std::size_t, std::size_t>> places;
  for (const Chunk& chunk : chunk_document(document, cap(100))) {
    places.emplace_back(chunk.chapter, chunk.paragraph);
  }
  EXPECT_EQ(places, (std::vector<std::pair<std::size_t, std::size_t>>{{0, 0}, {0, 1}, {0, 3}, {1, 0}, {1, 1}}));
}

TEST(Chunker, OccurrencesCountEqualTextsWithinAChapter) {
  const Document document = parse_text("CHAPTER I\n\nYes.\n\nNo.\n\nYes.\n\nYes.\n\nCHAPTER II\n\nYes.", "book.txt");
  std::vector<int> occurrences;
  for (const Chunk& chunk : chunk_document(document, cap(100))) {
    occurrences.push_back(chunk.occurrence);
  }
  EXPECT_EQ(occurrences, (std::vector{0, 0, 0, 1, 2, 0, 0}));
}

TEST(Chunker, AnInsertedParagraphChangesNoOtherChunk) {
  const std::string before = "The sea was blue. The sky was grey.";
  const std::string after = "The wind blew on. The rain fell down.";
  Strings with = texts(chunk_document(parse_text(before + "\n\nSomething new.\n\n" + after, "a.txt"), cap(20)));
  std::erase(with, "Something new.");
  EXPECT_EQ(with, texts(chunk_document(parse_text(before + "\n\n" + after, "a.txt"), cap(20))));
}

TEST(Chunker, DocumentsWithNothingToReadGiveNoChunks) {
  EXPECT_TRUE(chunk_document({}, cap(100)).empty());
  EXPECT_TRUE(chunk_document(one_paragraph("* * *", ParagraphKind::scene_break), cap(100)).empty());
}

TEST(Chunker, MissingPredictorAndHopelessCapAreErrors) {
  EXPECT_THROW(chunk_document(one_paragraph("Text."), {}), std::invalid_argument);
  try {
    chunk_document(one_paragraph("Text."), {.max_tokens = 1, .predict_tokens = as_in_english});
    FAIL() << "no error";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "max_tokens 1 is too small: one character (T) is predicted to take 2");
  }
}

TEST(Pauses, FollowTheStructure) {
  const Pauses pauses;
  EXPECT_EQ(pauses.before(Follows::sentence), 0.25);
  EXPECT_EQ(pauses.before(Follows::paragraph), 0.6);
  EXPECT_EQ(pauses.before(Follows::scene), 1.5);
  EXPECT_EQ(pauses.before(Follows::chapter), 2.5);
  EXPECT_EQ(pauses.before(Follows::end), 0.0);
}

std::string repeated(std::string_view piece, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    text += piece;
  }
  return text;
}

TEST(ChunkerOddInput, KeepsThePromises) {
  const ChunkerOptions options{.predict_tokens = as_in_english};
  for (const std::string_view piece : {"x",
                                       "🙂",
                                       "👩🏽‍🚀",
                                       "漢字。",
                                       "漢",
                                       "שלום ",
                                       "مرحبا",
                                       "!",
                                       "! ",
                                       "…",
                                       ". . . ",
                                       "“",
                                       "” ",
                                       "— ",
                                       "—",
                                       "1,",
                                       "Mr. ",
                                       "A. ",
                                       "e\u0301\u0302\u0303",
                                       "a\u00a0b ",
                                       "http://a.b/?c=D!",
                                       "word ",
                                       "No. 1 ",
                                       "’",
                                       "‘"}) {
    SCOPED_TRACE(piece);
    expect_promises(one_paragraph(repeated(piece, 6000)), options);
  }
}

TEST(ChunkerOddInput, AHundredKilobytesWithoutASpace) {
  expect_promises(one_paragraph(std::string(100'000, 'x')), {.predict_tokens = as_in_english});
}

TEST(ChunkerOddInput, AHeapOfAccentsLongerThanTheCap) {
  expect_promises(one_paragraph("before a" + repeated("\u0301", 3000) + " after"), {.predict_tokens = as_in_english});
}

TEST(ChunkerOddInput, DamagedUtf8IsKept) {
  EXPECT_EQ(cut("one \xff\xfe two \xc3", cap(100)), (Strings{"one \xff\xfe two \xc3"}));
  EXPECT_EQ(cut("\xff three \xc3 four", cap(7)), (Strings{"\xff three", "\xc3 four"}));
  expect_promises(one_paragraph(repeated("a\xff \xe2\x80 \xc3.", 2000)), {.predict_tokens = as_in_english});
}

Document read_sample(const std::string& path) {
  std::ifstream file(std::string(AUDIOBOOKD_SOURCE_DIR) + "/" + path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return parse_document(std::string{std::istreambuf_iterator<char>(file), {}}, path);
}

std::size_t count_scene_breaks(const Document& document) {
  std::size_t count = 0;
  for (const Chapter& chapter : document.chapters) {
    count += static_cast<std::size_t>(
        std::count_if(chapter.paragraphs.begin(), chapter.paragraphs.end(),
                      [](const Paragraph& paragraph) { return paragraph.kind == ParagraphKind::scene_break; }));
  }
  return count;
}

TEST(ChunkerProse, SamplesKeepThePromises) {
  for (const std::string path : {"demo/lighthouse.txt", "tests/data/texts/prose_38k.txt"}) {
    SCOPED_TRACE(path);
    expect_promises(read_sample(path), {.predict_tokens = as_in_english});
    expect_promises(read_sample(path), {.max_tokens = 60, .predict_tokens = as_in_english});
  }
}

TEST(ChunkerProse, SamplesHaveTheirChaptersAndScenes) {
  const Document lighthouse = read_sample("demo/lighthouse.txt");
  EXPECT_EQ(lighthouse.title, "THE LAMP AT GREYHOLM");
  EXPECT_EQ(lighthouse.chapters.size(), 3u);
  EXPECT_EQ(count_scene_breaks(lighthouse), 2u);
  const Document prose = read_sample("tests/data/texts/prose_38k.txt");
  EXPECT_EQ(prose.title, "SIX WAYS ACROSS THE RIVER");
  EXPECT_EQ(prose.chapters.size(), 10u);
}

TEST(ChunkerProse, ChunksAreShortOnlyWhereTheirParagraphIs) {
  const Document document = read_sample("tests/data/texts/prose_38k.txt");
  const ChunkerOptions options{.predict_tokens = as_in_english};
  for (const Chunk& chunk : chunk_document(document, options)) {
    if (count_characters(chunk.text) < static_cast<std::size_t>(options.min_characters)) {
      EXPECT_EQ(chunk.text, document.chapters[chunk.chapter].paragraphs[chunk.paragraph].text);
    }
  }
}

bool ends_a_sentence(std::string_view text) {
  const std::size_t last = text.find_last_not_of("”’)\"");
  return last != std::string_view::npos && std::string_view(".!?").find(text[last]) != std::string_view::npos;
}

TEST(ChunkerProse, FewChunksEndInsideASentence) {
  const std::vector<Chunk> chunks =
      chunk_document(read_sample("tests/data/texts/prose_38k.txt"), {.predict_tokens = as_in_english});
  const auto inside = std::count_if(chunks.begin(), chunks.end(), [](const Chunk& chunk) {
    return chunk.follows == Follows::sentence && !ends_a_sentence(chunk.text);
  });
  EXPECT_LT(inside * 10, static_cast<std::ptrdiff_t>(chunks.size()));
}

/// A paragraph of random words and punctuation, all kinds mixed.
std::string random_paragraph(std::mt19937& random) {
  static const Strings parts = {
      "the",  "a",     "lighthouse", "keeper", "Mr.",     "Dr.",  "e.g.",       "J.",
      "3.14", "1,000", "and",        "which",  "because", "said", "She",        "I",
      "St.",  "naïve", "東京。",     "🙂",   "—",       "–",    "--",         "…",
      "...",  "“",     "”",          "‘",      "’",       "\"",   "well-known", "https://a.example/x?y=Z",
      "(so)", "U.S.",  "No.",        "7",      "שלום",    "don’t"};
  static const Strings ends = {" ", " ", " ", " ", " ", ", ", ". ", "? ", "! ", "; ", ": ", "", ".” ", ",” ", "\u00a0"};
  const std::size_t length = random() % 400 + 1;
  std::string text = "x";
  for (std::size_t i = 0; i < length; ++i) {
    text += parts[random() % parts.size()] + ends[random() % ends.size()];
  }
  return text;
}

TEST(ChunkerProperties, HoldForGeneratedTexts) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 150 && !testing::Test::HasFailure(); ++round) {
    Document document;
    for (std::size_t c = random() % 3 + 1; c > 0; --c) {
      Chapter& chapter = document.chapters.emplace_back();
      for (std::size_t p = random() % 4 + 1; p > 0; --p) {
        const auto kind = static_cast<ParagraphKind>(random() % 8 == 0 ? random() % 3 : 0);
        chapter.paragraphs.push_back({.text = random_paragraph(random), .kind = kind});
      }
    }
    const int max_tokens = static_cast<int>(random() % 400 + 10);
    const int min_characters = static_cast<int>(random() % 30);
    SCOPED_TRACE("round " + std::to_string(round));
    expect_promises(document, {.max_tokens = max_tokens,
                               .min_characters = min_characters,
                               .predict_tokens = random() % 2 == 0 ? as_in_english : one_a_character});
  }
}

} // namespace
} // namespace audiobookd::jobs
