// What each gate finds, and that it finds nothing where nothing is wrong.
#include "daemon/gates.h"
#include "tests/daemon/speech_like.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>

namespace audiobookd::daemon {
namespace {

constexpr int tokens_a_second = 25;

class GatesTest : public ::testing::Test {
protected:
  GatesTest() : tokens_(75) { std::iota(tokens_.begin(), tokens_.end(), 100); }

  /// Names of the gates that find something with a text of @p predicted tokens.
  std::vector<std::string> found(const engine::Waveform& waveform, int predicted = 75) {
    std::vector<std::string> names;
    for (const Finding& finding : judge(waveform, {predicted, tokens_a_second, tokens_, alignment_}, settings_)) {
      names.push_back(finding.gate);
    }
    return names;
  }

  using Names = std::vector<std::string>;
  GateSettings settings_;
  std::vector<std::int32_t> tokens_;
  std::optional<AlignmentSummary> alignment_;
};

TEST_F(GatesTest, SpeechOfTheExpectedLengthPasses) {
  EXPECT_EQ(found(testing::speech_like(3)), Names{});
  alignment_ = summarise(testing::steady(50, 2));
  EXPECT_EQ(found(testing::speech_like(3)), Names{});
}

TEST_F(GatesTest, TooLongAndTooShortForTheTextAreFound) {
  EXPECT_EQ(found(testing::speech_like(3), 25), Names{"duration"});
  EXPECT_EQ(found(testing::speech_like(3), 250), Names{"duration"});
}

TEST_F(GatesTest, AShortTextMayBeFurtherFromItsRoughPrediction) {
  EXPECT_EQ(found(testing::speech_like(0.9), 10), Names{});
  EXPECT_EQ(found(testing::speech_like(9), 100), Names{"duration"}) << "the same ratio of a long one is wrong";
}

TEST_F(GatesTest, ALongPauseInsideIsFoundAndOneAtTheEndIsNot) {
  engine::Waveform waveform = testing::speech_like(3);
  waveform.samples.insert(waveform.samples.begin() + 36'000, 36'000, 0.0f);
  EXPECT_EQ(found(waveform), Names{"silence_inside"});
  waveform = testing::speech_like(3);
  waveform.samples.insert(waveform.samples.end(), 36'000, 0.0f);
  EXPECT_EQ(found(waveform), Names{});
}

TEST_F(GatesTest, SpeechThatBreaksOffLoudIsCutOff) {
  engine::Waveform waveform = testing::speech_like(3);
  waveform.samples.resize(24'000 * 2 + 3'000); // in the middle of a syllable
  EXPECT_EQ(found(waveform), Names{"cut_off"});
}

TEST_F(GatesTest, FlatTopsAreClippingAndLoudnessIsNot) {
  engine::Waveform waveform = testing::speech_like(3, 2.0f);
  EXPECT_EQ(found(testing::speech_like(3, 0.4f)), Names{});
  for (float& sample : waveform.samples) {
    sample = std::clamp(sample, -0.99f, 0.99f);
  }
  EXPECT_EQ(found(waveform), Names{"clipping"});
}

TEST_F(GatesTest, SilenceAndNoiseAreNoSpeech) {
  EXPECT_EQ(found(testing::speech_like(3, 1e-5f)), Names{"silence"});
  engine::Waveform nothing;
  nothing.samples.resize(72'000);
  EXPECT_EQ(found(nothing), Names{"silence"});
  const Names names = found(testing::noise(3));
  EXPECT_GT(std::ranges::count(names, "noise"), 0);
}

TEST_F(GatesTest, NoiseForASecondAmongSpeechIsFound) {
  engine::Waveform waveform = testing::speech_like(3);
  const engine::Waveform burst = testing::noise(1);
  std::ranges::copy(burst.samples, waveform.samples.begin() + 24'000);
  EXPECT_EQ(found(waveform), Names{"noise"});
}

TEST_F(GatesTest, TokensThatRepeatAreFoundWhateverTheirPeriod) {
  for (const std::size_t period : {1u, 2u, 4u}) {
    std::iota(tokens_.begin(), tokens_.end(), 100);
    for (std::size_t i = 20 + period; i < 20 + period + 16; ++i) {
      tokens_[i] = tokens_[i - period];
    }
    EXPECT_EQ(found(testing::speech_like(3)), Names{"repeated_tokens"}) << period;
  }
}

TEST_F(GatesTest, TheTokenLimitIsAFinding) {
  engine::Waveform waveform = testing::speech_like(3);
  waveform.hit_token_limit = true;
  EXPECT_EQ(found(waveform), Names{"token_limit"});
}

TEST_F(GatesTest, SkippedRepeatedAndUnreadTextIsFoundWithAlignmentAlone) {
  engine::Alignment skipped = testing::steady(50, 2);
  skipped.positions.erase(skipped.positions.begin() + 41, skipped.positions.begin() + 61);
  alignment_ = summarise(skipped);
  EXPECT_EQ(alignment_->skipped, 10);
  EXPECT_EQ(found(testing::speech_like(3)), Names{"skipped_text"});

  engine::Alignment repeated = testing::steady(50, 2);
  const std::vector<std::int32_t> words(repeated.positions.begin() + 41, repeated.positions.begin() + 61);
  repeated.positions.insert(repeated.positions.begin() + 61, words.begin(), words.end());
  alignment_ = summarise(repeated);
  EXPECT_GE(alignment_->reread, 7);
  EXPECT_EQ(found(testing::speech_like(3)), Names{"repeated_text"});

  engine::Alignment unread = testing::steady(50, 2);
  unread.positions.resize(unread.positions.size() - 20);
  alignment_ = summarise(unread);
  EXPECT_EQ(found(testing::speech_like(3)), Names{"unread_end"});

  engine::Alignment late = testing::steady(50, 2);
  late.positions.insert(late.positions.end(), 40, 49);
  alignment_ = summarise(late);
  EXPECT_EQ(found(testing::speech_like(3)), Names{"late_end"});

  alignment_.reset();
  EXPECT_EQ(found(testing::speech_like(3)), Names{});
}

TEST_F(GatesTest, AGlanceElsewhereIsNoReading) {
  engine::Alignment alignment = testing::steady(50, 2);
  std::fill_n(alignment.positions.begin() + 30, 2, 45);
  std::fill_n(alignment.positions.begin() + 60, 2, 2);
  const AlignmentSummary summary = summarise(alignment);
  EXPECT_LE(summary.skipped, 1);
  EXPECT_EQ(summary.reread, 0);
}

TEST_F(GatesTest, AHeadThatLooksElsewhereWhileReadingGoesOnHasNeitherSkippedNorReadTwice) {
  engine::Alignment alignment = testing::steady(50, 2);
  for (std::size_t i = 61; i < 81; ++i) {
    alignment.positions[i] -= 20; // the same letters stood there before
  }
  alignment_ = summarise(alignment);
  EXPECT_EQ(found(testing::speech_like(3)), Names{});
}

TEST_F(GatesTest, OfSeveralHeadsTheMedianCounts) {
  const engine::Alignment one = testing::steady(50, 2);
  engine::Alignment three = one;
  three.num_heads = 3;
  three.positions.clear();
  for (const std::int32_t position : one.positions) {
    three.positions.insert(three.positions.end(), {position, position < 0 ? -1 : 49, position});
  }
  EXPECT_EQ(summarise(three), summarise(one));
}

TEST_F(GatesTest, FurtherOutOfBoundsIsWorseAndMoreFindingsAreWorse) {
  const Finding little{"duration", 2, 1.8};
  const Finding much{"duration", 5, 1.8};
  const Finding quiet{"silence", -90, -50};
  EXPECT_EQ(badness_of({}), 0);
  EXPECT_LT(badness_of({little}), badness_of({much}));
  EXPECT_LT(badness_of({much}), badness_of({much, little}));
  EXPECT_LT(badness_of({little}), badness_of({quiet}));
  EXPECT_EQ(describe({little, quiet}), "duration 2 (at most 1.8), silence -90 (at least -50)");
}

TEST_F(GatesTest, WhatCannotBeHeardAtAllIsAFaultWithItsReason) {
  EXPECT_EQ(describe_fault({}), "the engine delivered no samples");
  engine::Waveform waveform = testing::speech_like(1);
  EXPECT_EQ(describe_fault(waveform), "");
  waveform.samples[5] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(describe_fault(waveform), "sample 5 is not a finite number");
}

} // namespace
} // namespace audiobookd::daemon
