// What listeners read along with: the written words of each utterance.
#include "jobs/chunker.h"
#include "jobs/spoken_text/spoken_text.h"
#include "jobs/written_text.h"

#include <gtest/gtest.h>
#include <random>

namespace audiobookd::jobs {
namespace {

using Texts = std::vector<std::string>;

std::string join(const Texts& parts) {
  std::string text;
  for (const std::string& part : parts) {
    text += (text.empty() || part.empty() ? "" : " ") + part;
  }
  return text;
}

TEST(WrittenParts, EndWhereTheirUtterancesEnd) {
  EXPECT_EQ(written_parts(
                "Dr. Lee paid $5 on 3 March. He left at 9:30, they say.",
                Texts{"Doctor Lee paid five dollars on the third of March.", "He left at nine thirty,", "they say."}),
            (Texts{"Dr. Lee paid $5 on 3 March.", "He left at 9:30,", "they say."}));
  EXPECT_EQ(written_parts("It was 1984. 5 km more!", Texts{"It was nineteen eighty-four.", "five kilometers more!"}),
            (Texts{"It was 1984.", "5 km more!"}));
  EXPECT_EQ(written_parts("The same words.", Texts{"The same words."}), Texts{"The same words."});
}

TEST(WrittenParts, WhatIsNotSaidStaysWithWhatIsBeforeIt) {
  EXPECT_EQ(written_parts("One. * [12] Two.", Texts{"One.", "Two."}), (Texts{"One. * [12]", "Two."}));
}

TEST(WrittenParts, NoneIsEmptyWhileThereAreWords) {
  EXPECT_EQ(written_parts("a b", Texts{"x y z", "u v w"}), (Texts{"a", "b"}));
  EXPECT_EQ(written_parts("12,345,678", Texts{"twelve million", "three hundred forty five"}),
            (Texts{"", "12,345,678"}));
  EXPECT_EQ(written_parts("", Texts{"x", "y"}), (Texts{"", ""}));
  EXPECT_EQ(written_parts("a b c d e", Texts{"x", "x", "x"}).size(), 3U);
}

TEST(WrittenParts, OfAnyTextNothingIsLostAndNothingIsMixed) {
  std::mt19937 random(1);
  const char* sentences[] = {"Dr. Brown owed $1,200 to No. 5 St. James St. in 1984.",
                             "The ship, 12 km away, turned at 5:45 p.m. and sank.",
                             "\"I, Henry VIII,\" he said, \"have 2 1/2 lb of gold.\"",
                             "See www.example.com/news or call 555-1234 & ask for the 22nd.",
                             "Nothing here is unusual, and so the words are the same."};
  for (int round = 0; round < 50; ++round) {
    Document document;
    Paragraph& paragraph = document.chapters.emplace_back().paragraphs.emplace_back();
    for (int i = 0; i < 40; ++i) {
      paragraph.text += (i == 0 ? "" : " ") + std::string(sentences[random() % std::size(sentences)]);
    }
    const std::string written = paragraph.text;
    const Document spoken = speak(document, {});
    ASSERT_EQ(spoken.chapters[0].paragraphs[0].written, written);
    ChunkerOptions options;
    options.predict_tokens = [](std::string_view text) { return static_cast<int>(text.size()); };
    Texts stretches;
    for (const Chunk& chunk : chunk_document(spoken, options)) {
      stretches.push_back(chunk.text);
    }
    ASSERT_GT(stretches.size(), 3U);
    const Texts parts = written_parts(written, stretches);
    ASSERT_EQ(parts.size(), stretches.size());
    EXPECT_EQ(join(parts), written);
    for (const std::string& part : parts) { // all these stretches end where sentences do
      const bool ends_a_sentence = part.ends_with(".") || part.ends_with(".\"") || part.ends_with("22nd.");
      EXPECT_TRUE(ends_a_sentence) << part;
    }
  }
}

} // namespace
} // namespace audiobookd::jobs
