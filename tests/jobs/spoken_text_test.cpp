// Text for the ear: what is said of what is written, held to a table of examples and to what must hold for any text.
#include "jobs/spoken_text/spoken_text.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sstream>
#include <string>
#include <unicode/uchar.h>
#include <vector>

namespace audiobookd::jobs {
namespace {

const std::string data_folder = std::string(AUDIOBOOKD_SOURCE_DIR) + "/tests/data/spoken_text/";

/// A line of a table: what is written, and what is said in the United States and in Britain.
struct Example {
  int line = 0;
  std::string written;
  std::string american;
  std::string british; ///< the same if the table has no third column
};

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line);
  for (std::string cell; std::getline(stream, cell, '\t');) {
    cells.push_back(cell);
  }
  return cells;
}

/// The examples of a table; groups begin with "# ".
std::vector<Example> read_examples(const std::string& name) {
  std::ifstream file(data_folder + name);
  std::vector<Example> examples;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.empty() || line.starts_with("# ")) {
      continue;
    }
    std::vector<std::string> cells = split(line);
    cells.resize(std::max<std::size_t>(cells.size(), 2));
    examples.push_back({number, cells[0], cells[1], cells.size() > 2 ? cells[2] : cells[1]});
  }
  return examples;
}

std::string speak(std::string_view written, const SpeechOptions& options = {}, bool is_heading = false) {
  return SpokenText(options).speak(written, is_heading);
}

std::string speak_with(const Words& words, std::string_view written) {
  return speak(written, {.dictionaries = {words}});
}

bool has_digit(std::string_view text) {
  bool found = false;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) { found = found || u_isdigit(c); });
  return found;
}

bool is_utf8(std::string_view text) {
  bool good = true;
  std::size_t at = 0;
  while (at < text.size()) {
    UChar32 c = 0;
    U8_NEXT(text.data(), at, text.size(), c);
    good = good && c >= 0;
  }
  return good;
}

/// Texts made of parts that rules know, in random order.
class RandomTexts {
public:
  explicit RandomTexts(unsigned seed) : random_(seed) {
    for (const Example& example : read_examples("english.tsv")) {
      std::istringstream words(example.written);
      for (std::string word; words >> word;) {
        parts_.push_back(word);
      }
    }
  }
  std::string next() {
    std::string text;
    for (int count = 1 + static_cast<int>(random_() % 12); count > 0; --count) {
      text += parts_[random_() % parts_.size()];
      text += random_() % 8 == 0 ? "" : " ";
    }
    return text;
  }

private:
  std::mt19937 random_;
  std::vector<std::string> parts_;
};

TEST(SpokenText, EnglishIsReadAsTheTableSays) {
  const std::vector<Example> examples = read_examples("english.tsv");
  EXPECT_GE(examples.size(), 300U);
  const SpokenText american({.language = "en"});
  const SpokenText british({.language = "en-GB"});
  for (const Example& example : examples) {
    EXPECT_EQ(american.speak(example.written, false), example.american) << "english.tsv:" << example.line;
    EXPECT_EQ(british.speak(example.written, false), example.british) << "english.tsv:" << example.line << ", en-GB";
  }
}

TEST(SpokenText, HeadingsAreReadAsTheTableSays) {
  const std::vector<Example> examples = read_examples("headings.tsv");
  EXPECT_GE(examples.size(), 10U);
  const SpokenText spoken({});
  for (const Example& example : examples) {
    EXPECT_EQ(spoken.speak(example.written, true), example.american) << "headings.tsv:" << example.line;
  }
}

TEST(SpokenText, ProseStaysAsItIs) {
  const SpokenText spoken({});
  const std::vector<Example> lines = read_examples("untouched.txt");
  EXPECT_GE(lines.size(), 40U);
  for (const Example& line : lines) {
    EXPECT_EQ(spoken.speak(line.written, false), line.written) << "untouched.txt:" << line.line;
  }
}

TEST(SpokenText, WhatWasReadOnceStaysWhenItIsReadAgain) {
  const SpokenText spoken({});
  for (const Example& example : read_examples("english.tsv")) {
    EXPECT_EQ(spoken.speak(example.american, false), example.american) << "english.tsv:" << example.line;
  }
}

TEST(SpokenText, NoDigitIsLeftInEnglish) {
  const SpokenText spoken({});
  RandomTexts texts(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string written = texts.next();
    const std::string said = spoken.speak(written, i % 5 == 0);
    EXPECT_FALSE(has_digit(said)) << written << "\n" << said;
  }
}

TEST(SpokenText, AnyBytesBecomeValidUtf8OfBoundedLength) {
  const SpokenText spoken({});
  std::mt19937 random(2);
  RandomTexts texts(3);
  for (int i = 0; i < 2000; ++i) {
    std::string written = texts.next();
    for (int damage = 0; damage < 4; ++damage) {
      written[random() % written.size()] = static_cast<char>(random());
    }
    const std::string said = spoken.speak(written, false);
    EXPECT_TRUE(is_utf8(said)) << written;
    EXPECT_LE(said.size(), 16 * written.size() + 64) << written;
  }
}

TEST(SpokenText, HostileTextGrowsInProportion) {
  const SpokenText spoken({});
  constexpr std::size_t length = 1 << 18;
  for (const std::string unit :
       {"7", "7,", "7.", "7-", "$", "I", "A ", "#", "http://", "@", "½", "(", "'7", "!?", "x²"}) {
    std::string written;
    while (written.size() < length) {
      written += unit;
    }
    EXPECT_LE(spoken.speak(written, false).size(), 16 * written.size()) << unit;
  }
}

TEST(SpokenText, OnlyDecorationBecomesNothing) {
  const SpokenText spoken({});
  for (const char* const decoration : {"🙂", "★ ★ ★", "❦", "* * *", "—", "…", "†", "👩‍🚀🚀", "_ _"}) {
    EXPECT_EQ(spoken.speak(decoration, false), "") << decoration;
  }
}

TEST(SpokenText, OtherLanguagesHaveTheirNumbersOnlyWhereTheyHaveOneForm) {
  EXPECT_EQ(speak("Er hatte 23 Hunde und 1.234 Katzen.", {.language = "de"}),
            "Er hatte dreiundzwanzig Hunde und eintausendzweihundertvierunddreißig Katzen.");
  EXPECT_EQ(speak("Im Jahr 1984 war es so.", {.language = "de"}), "Im Jahr neunzehnhundertvierundachtzig war es so.");
  EXPECT_EQ(speak("Am 3. März um 9:30, 1 Hund, 21 Tage, 3,5 m, 5 %.", {.language = "de"}),
            "Am 3. März um 9:30, 1 Hund, 21 Tage, 3,5 m, 5 %.");
  EXPECT_EQ(speak("Il a 80 ans.", {.language = "fr"}), "Il a quatre-vingts ans.");
  EXPECT_EQ(speak("У него 5 собак.", {.language = "ru"}), "У него 5 собак.");
  EXPECT_EQ(speak("Tiene 2 perros. No. 5", {.language = "es"}), "Tiene 2 perros. No. 5");
  EXPECT_EQ(speak("Wort­teil 🙂 jetzt!!!", {.language = "de-AT"}), "Wortteil jetzt!");
}

TEST(SpokenText, ALanguageThatNobodyKnowsIsLeftAsItIs) {
  EXPECT_EQ(speak("qapla' 5!", {.language = "tlh"}), "qapla' 5!");
}

TEST(SpokenText, TurnedOffNothingChangesButTheDictionarysWords) {
  const std::string written = "Dr. Who has $5 🙂 and  IX!!!";
  EXPECT_EQ(speak(written, {.normalize = false}), "Dr. Who has $5 🙂 and IX!!!");
  EXPECT_EQ(speak("A gif for $5", {.normalize = false, .dictionaries = {{{"gif", "jif"}}}}), "A jif for $5");
}

TEST(SpokenDictionary, StandsForWholeWordsInAnyCaseUnlessWrittenWithACapital) {
  const Words words = {{"gif", "jif"}, {"Polish", "Pole ish"}};
  EXPECT_EQ(speak_with(words, "A GIF, a gif and gifs. Gif!"), "A Jif, a jif and gifs. Jif!");
  EXPECT_EQ(speak_with(words, "Polish polish POLISHED"), "Pole ish polish POLISHED");
}

TEST(SpokenDictionary, TakesPhrasesAndTheLongestFirst) {
  const Words words = {{"Hermione", "Her my oh nee"}, {"Hermione Granger", "H G"}, {"o'clock", "oh clock"}};
  EXPECT_EQ(speak_with(words, "Hermione’s friend Hermione Granger at five o’clock."),
            "Her my oh nee’s friend H G at five oh clock.");
}

TEST(SpokenDictionary, ComesBeforeAllRulesAndIsNotReadAgain) {
  const Words words = {{"Dr.", "Dr. 5"}, {"IX", "icks"}, {"$5", "five bucks"}, {"km", "klicks"}, {"🙂", "smiley"}};
  EXPECT_EQ(speak_with(words, "Dr. Who, Chapter IX, $5 and 5 km 🙂"),
            "Dr. 5 Who, Chapter icks, five bucks and five klicks smiley");
}

TEST(SpokenDictionary, MayLeaveWordsOut) {
  EXPECT_EQ(speak_with({{"sic", ""}}, "He goed (sic) home."), "He goed () home.");
}

TEST(SpokenDictionary, LaterLayersWin) {
  const SpeechOptions options{
      .dictionaries = {{{"Nevada", "Nev AH da"}, {"Bath", "Barth"}}, {{"nevada", "Nev ADD a"}}}};
  EXPECT_EQ(speak("Nevada and Bath", options), "Nev ADD a and Barth");
}

TEST(SpokenDictionary, EntriesThatCannotWorkAreNamed) {
  EXPECT_FALSE(complaint_about("gif", "jif"));
  EXPECT_FALSE(complaint_about("gif", ""));
  EXPECT_EQ(complaint_about(" ", "x"), "the written word is empty");
  EXPECT_EQ(complaint_about(std::string(201, 'x'), "x"), "the written word has 201 bytes, at most 200 are allowed");
  EXPECT_EQ(complaint_about("x", std::string(1001, 'x')), "the spoken text has 1001 bytes, at most 1000 are allowed");
  EXPECT_EQ(complaint_about("x", "a\nb"), "it contains a line break or another control character");
}

Document document_of(std::vector<Paragraph> paragraphs) {
  Document document;
  document.title = "Part 2";
  document.chapters.push_back({"Chapter IX", std::move(paragraphs)});
  return document;
}

TEST(SpokenDocument, ParagraphsAndHeadingsAreSpokenAndTitlesStayWritten) {
  const Document spoken = speak(
      document_of(
          {{"IX", ParagraphKind::heading}, {"He had 3."}, {"* * *", ParagraphKind::scene_break}, {"★"}, {"End."}}),
      SpeechOptions{});
  EXPECT_EQ(spoken.title, "Part 2");
  ASSERT_EQ(spoken.chapters.size(), 1U);
  EXPECT_EQ(spoken.chapters[0].title, "Chapter IX");
  ASSERT_EQ(spoken.chapters[0].paragraphs.size(), 4U);
  EXPECT_EQ(spoken.chapters[0].paragraphs[0].text, "Nine");
  EXPECT_EQ(spoken.chapters[0].paragraphs[1].text, "He had three.");
  EXPECT_EQ(spoken.chapters[0].paragraphs[2].kind, ParagraphKind::scene_break);
  EXPECT_EQ(spoken.chapters[0].paragraphs[3].text, "End.");
}

TEST(SpokenDocument, AChapterOfDecorationIsLeftOutAndADocumentOfItRefused) {
  Document document = document_of({{"★"}});
  EXPECT_THROW((void)speak(document, SpeechOptions{}), DocumentError);
  document.chapters.push_back({"Two", {{"Words."}}});
  const Document spoken = speak(document, SpeechOptions{});
  ASSERT_EQ(spoken.chapters.size(), 1U);
  EXPECT_EQ(spoken.chapters[0].title, "Two");
}

} // namespace
} // namespace audiobookd::jobs
