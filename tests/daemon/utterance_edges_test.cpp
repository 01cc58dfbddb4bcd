// Utterances without the silence that models leave at their edges, and without clicks.
#include "daemon/utterance_edges.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace audiobookd::daemon {
namespace {

constexpr int rate = 24'000;

/// @p silence samples of noise 70 dB below the tone before and after @p sound samples of a tone.
std::vector<float> utterance(std::size_t silence, std::size_t sound) {
  std::mt19937 random(1);
  std::normal_distribution<float> noise(0, 1e-4F);
  std::vector<float> samples(2 * silence + sound);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const bool is_sound = i >= silence && i < silence + sound;
    samples[i] = noise(random) + (is_sound ? 0.4F * std::cos(0.07F * static_cast<float>(i)) : 0);
  }
  return samples;
}

TEST(UtteranceEdges, AreTrimmedDownToABreath) {
  for (const std::size_t silence : {std::size_t{2'400}, std::size_t{24'000}}) {
    std::vector<float> samples = utterance(silence, 12'000);
    const auto part = trim_edges(samples, rate);
    const auto before = silence - static_cast<std::size_t>(part.data() - samples.data());
    EXPECT_GE(before, 480U);
    EXPECT_LE(before, 480U + 120) << "20 ms and a window";
    const auto after = part.size() - before - 12'000;
    EXPECT_GE(after, 1'440U);
    EXPECT_LE(after, 1'440U + 120);
  }
}

TEST(UtteranceEdges, SpeechItselfStaysAsItIs) {
  std::vector<float> samples = utterance(6'000, 12'000);
  std::fill_n(samples.begin() + 10'000, 2'000, 0.0F); // a pause inside
  const std::vector<float> before = samples;
  const auto part = trim_edges(samples, rate);
  const auto offset = static_cast<std::size_t>(part.data() - samples.data());
  for (std::size_t i = 6'000; i < 18'000; ++i) {
    ASSERT_EQ(part[i - offset], before[i]) << i;
  }
}

TEST(UtteranceEdges, NeverClickBesideSilence) {
  for (const std::size_t silence : {0, 10, 100, 1'000}) {
    for (const std::size_t sound : {1, 2, 50, 1'000, 24'000}) {
      std::vector<float> samples = utterance(silence, sound);
      const auto part = trim_edges(samples, rate);
      ASSERT_FALSE(part.empty());
      if (part.size() >= 50) {
        EXPECT_LT(std::abs(part.front()), 0.01F) << silence << " " << sound;
        EXPECT_LT(std::abs(part.back()), 0.01F) << silence << " " << sound;
      }
    }
  }
  std::vector<float> abrupt = utterance(0, 24'000);
  const auto part = trim_edges(abrupt, rate);
  ASSERT_EQ(part.size(), 24'000U);
  EXPECT_LT(std::abs(part.front()), 1e-3F);
  EXPECT_LT(std::abs(part.back()), 1e-3F);
  float largest_step = 0;
  for (std::size_t i = 1; i < part.size(); ++i) {
    largest_step = std::max(largest_step, std::abs(part[i] - part[i - 1]));
  }
  EXPECT_LT(largest_step, 0.04F) << "the tone itself steps by 0.028";
}

TEST(UtteranceEdges, SilenceStaysSilence) {
  std::vector<float> silence(1'000);
  EXPECT_EQ(trim_edges(silence, rate).size(), 1'000U);
  EXPECT_TRUE(trim_edges({}, rate).empty());
}

} // namespace
} // namespace audiobookd::daemon
