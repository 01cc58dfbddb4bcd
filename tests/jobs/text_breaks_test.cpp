// Where paragraphs may be cut: sentences where English ends them, and the rank of every other place.
#include "jobs/text_breaks.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {
namespace {

/// @p text with a bar at every break that is at least as good as @p worst.
std::string marked(const std::string& text, BreakRank worst) {
  std::string result;
  std::size_t begin = 0;
  for (const Break& place : find_breaks(text)) {
    if (place.rank <= worst) {
      result += text.substr(begin, place.offset - begin) + "|";
      begin = place.offset;
    }
  }
  return result + text.substr(begin);
}

/// In every text a bar stands where, and only where, a sentence begins: outside quoted speech, not after an ellipsis.
struct SentenceCase {
  std::string name;
  std::string text;
};

class SentenceBreaks : public testing::TestWithParam<SentenceCase> {};

TEST_P(SentenceBreaks, AreWhereEnglishEndsASentence) {
  std::string text = GetParam().text;
  std::erase(text, '|');
  EXPECT_EQ(marked(text, BreakRank::sentences), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    English, SentenceBreaks,
    testing::Values(
        SentenceCase{"Plain", "One is here. |Two is here! |Is three? |It is."},
        SentenceCase{"Titles", "Mr. Smith met Mrs. Hale and Dr. Fry. |At St. Ives, Prof. Lee and Capt. Roy sat."},
        SentenceCase{"LatinAbbreviations", "He took tools, e.g. Swiss ones, i.e. Good ones. |They were heavy."},
        SentenceCase{"Initials", "She read J. R. R. Tolkien to them. |“J. Smith” was the name."},
        SentenceCase{"DottedAbbreviations", "We left the U.S. Embassy at 5 p.m. Tuesday. |The rain had stopped."},
        SentenceCase{"Numbers",
                     "Pi is 3.14, and 1,000 is round. |No. 5 was alive, on p. 12, in vol. 2. |They were not."},
        SentenceCase{"ClosingQuotes", "“I will go.” |“You will not.” |He said, ‘No.’ |(And he went.) |She wept."},
        SentenceCase{"StraightQuotes", "\"I will go.\" |\"You will not go. Stay!\" |She wept."},
        SentenceCase{"TagsAfterSpeech", "“Why must you?” she asked. |‘I must!’ he said. |“Well…” she began."},
        SentenceCase{"SpeechOfSeveralSentences", "“Sit. Eat. I will tell you,” she said. |And he sat down."},
        SentenceCase{"SingleQuotedSpeech", "‘Don’t go. It’s late. The boat’s gone,’ she said. |He stayed."},
        SentenceCase{"QuoteInAQuote", "“He said, ‘Stay here.’ So I stayed. What else?” |She nodded."},
        SentenceCase{"Apostrophes", "The boys’ hats were gone. |It wasn’t theirs. |’Twas the keeper’s."},
        SentenceCase{"Urls", "See https://example.org/?Q=1.Yes&R=!A for it. |The page at Example.Org.Uk is old."},
        SentenceCase{"Ellipses", "Well... You must go. |I thought… no, never mind. . . . Yes. |No."},
        SentenceCase{"Exclamations", "What?! |You mean it was there all along?! |It can’t be!!! |He ran."},
        SentenceCase{"Chinese", "海很蓝。|天很灰。|他走了！|为什么？|没有人知道。"}),
    [](const auto& info) { return info.param.name; });

BreakRank rank_before(std::string_view text, std::string_view word) {
  for (const Break& place : find_breaks(text)) {
    if (text.substr(place.offset).starts_with(word)) {
      return place.rank;
    }
  }
  ADD_FAILURE() << "no break before " << word;
  return BreakRank::characters;
}

TEST(TextBreaks, RanksSayHowWellAPlaceSuits) {
  EXPECT_EQ(rank_before("“Go. Now.”", "Now"), BreakRank::quoted_sentences);
  EXPECT_EQ(rank_before("Well... Go now.", "Go"), BreakRank::quoted_sentences);
  EXPECT_EQ(rank_before("Well. . . . Go now.", "Go"), BreakRank::quoted_sentences);
  EXPECT_EQ(rank_before("Go; stay.", "stay"), BreakRank::clauses);
  EXPECT_EQ(rank_before("Three things: one.", "one"), BreakRank::clauses);
  EXPECT_EQ(rank_before("Go — stay.", "stay"), BreakRank::clauses);
  EXPECT_EQ(rank_before("Go—stay.", "stay"), BreakRank::clauses);
  EXPECT_EQ(rank_before("Go -- stay.", "stay"), BreakRank::clauses);
  EXPECT_EQ(rank_before("Go - stay.", "stay"), BreakRank::clauses);
  EXPECT_EQ(rank_before("Well… stay.", "stay"), BreakRank::clauses);
  EXPECT_EQ(rank_before("“Go,” she said.", "she"), BreakRank::commas);
  EXPECT_EQ(rank_before("Go and stay.", "and"), BreakRank::conjunctions);
  EXPECT_EQ(rank_before("Go, and stay.", "and"), BreakRank::commas);
  EXPECT_EQ(rank_before("Go to the andiron.", "andiron"), BreakRank::words);
  EXPECT_EQ(rank_before("Go to it.", "to"), BreakRank::words);
}

TEST(TextBreaks, SomePlacesAreNeverCut) {
  for (const std::string text : {"1,000", "3.14", "well-known", "https://a.example/x,y;z?Q", "Mr. Smith", "J. Smith",
                                 "No. 5", "wait . . .", "what ?", "———", "don’t", "x"}) {
    EXPECT_EQ(marked(text, BreakRank::words), text);
  }
}

TEST(TextBreaks, AllKindsOfWhiteSpaceSeparateWords) {
  EXPECT_EQ(marked("a b\u00a0c\td \n e\u3000f", BreakRank::words), "a |b\u00a0|c\t|d \n |e\u3000|f");
}

TEST(TextBreaks, GraphemesAreWhatReadersCallCharacters) {
  EXPECT_EQ(find_grapheme_breaks("ae\u0301b"), (std::vector<std::size_t>{1, 4}));
  EXPECT_EQ(find_grapheme_breaks("👨‍👩‍👧x"), (std::vector<std::size_t>{18}));
  EXPECT_TRUE(find_grapheme_breaks("").empty());
}

} // namespace
} // namespace audiobookd::jobs
