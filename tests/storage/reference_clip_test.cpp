// Clips are brought to the models' rates, and what is wrong with one is said with its number.
#include "storage/reference_clip.h"
#include "storage/resampler.h"

#include <cmath>
#include <gtest/gtest.h>
#include <numbers>
#include <random>

namespace audiobookd::storage {
namespace {

constexpr int rate = 44'100;

/// @p level at each sample of a mono clip at 44.1 kHz.
template <class Level>
AudioClip mono(double seconds, const Level& level) {
  AudioClip clip{rate, 1, std::vector<float>(static_cast<std::size_t>(seconds * rate))};
  for (std::size_t i = 0; i < clip.samples.size(); ++i) {
    clip.samples[i] = static_cast<float>(level(static_cast<double>(i) / rate));
  }
  return clip;
}

double tone(double time, double hz) { return std::sin(2 * std::numbers::pi * hz * time); }

/// Syllables: bursts of a harmonic sound whose pitch falls, and pauses between them.
double syllables(double time) {
  const double phase = std::fmod(time, 0.5);
  const double envelope = phase < 0.35 ? std::sin(std::numbers::pi * phase / 0.35) : 0;
  double sum = 0;
  for (int harmonic = 1; harmonic <= 8; ++harmonic) {
    sum += tone(time, harmonic * (130 - 10 * phase)) / harmonic;
  }
  return 0.3 * envelope * sum;
}

double noise(double level) {
  static std::mt19937 random(1);
  return level * std::normal_distribution<double>()(random);
}

/// Speech in a quiet room.
AudioClip good_clip(double seconds = 8) {
  return mono(seconds, [](double time) { return syllables(time) + noise(0.0005); });
}

std::vector<Advice> advice_for(const AudioClip& clip) { return advise(measure(clip, to_reference_audio(clip))); }

/// The only advice for @p clip contains @p part, and refuses or not.
void expect_advice(const AudioClip& clip, bool refuses, const std::string& part) {
  const std::vector<Advice> advice = advice_for(clip);
  ASSERT_EQ(advice.size(), 1U) << (advice.empty() ? "" : advice.back().text);
  EXPECT_EQ(advice[0].refuses, refuses);
  EXPECT_NE(advice[0].text.find(part), std::string::npos) << advice[0].text;
}

TEST(ReferenceClip, AGoodClipNeedsNoAdvice) {
  const std::vector<Advice> advice = advice_for(good_clip());
  EXPECT_TRUE(advice.empty()) << advice[0].text;
}

TEST(ReferenceClip, SaysByNumberWhatIsWrong) {
  expect_advice(good_clip(0.9), true, "lasts 0.90 s; a voice needs at least 1 s");
  expect_advice(good_clip(3), false, "lasts 3.0 s; 5 s are the least");
  expect_advice(mono(8, [](double) { return noise(0.0001); }), true, "silent: its loudest part has -8");
  expect_advice(mono(8, [](double time) { return 0.02 * syllables(time) + noise(1e-5); }), false, "quiet: its loudest");
  expect_advice(mono(8, [](double time) { return std::clamp(5 * syllables(time) + noise(0.001), -1.0, 1.0); }), false,
                "clipped for");
  expect_advice(mono(8, [](double time) { return syllables(time) + noise(0.05); }), false, "noisy: pauses are only");
  expect_advice(
      mono(8,
           [](double time) { return syllables(time) + 0.05 * (tone(time, 220) + tone(time, 440) + tone(time, 880)); }),
      false, "music or hum");
}

/// Two channels made of two mono clips.
AudioClip stereo(const AudioClip& left, const AudioClip& right, float right_gain = 1) {
  AudioClip clip{rate, 2, {}};
  for (std::size_t i = 0; i < left.samples.size(); ++i) {
    clip.samples.insert(clip.samples.end(), {left.samples[i], right_gain * right.samples[i]});
  }
  return clip;
}

TEST(ReferenceClip, ChannelsThatDifferAreNoticed) {
  const AudioClip voice = good_clip();
  EXPECT_TRUE(advice_for(stereo(voice, voice)).empty());
  EXPECT_NEAR(measure(stereo(voice, voice), to_reference_audio(voice)).mixing_loss_db, 0, 1e-4);
  expect_advice(stereo(voice, voice, 0), false, "the channels differ: their mean, which is used, loses 3.0 dB");
  const std::vector<Advice> inverted = advice_for(stereo(voice, voice, -1));
  ASSERT_EQ(inverted.size(), 1U);
  EXPECT_NE(inverted[0].text.find("silent"), std::string::npos) << "nothing is left of opposite channels";
}

TEST(ReferenceClip, TheMeanOfTheChannelsComesAtBothRates) {
  const AudioClip left = mono(1, [](double time) { return 0.5 * tone(time, 300); });
  const AudioClip right = mono(1, [](double time) { return 0.5 * tone(time, 1000); });
  const ReferenceAudio audio = to_reference_audio(stereo(left, right));
  ASSERT_EQ(audio.samples_24khz.size(), 24'001U) << "as librosa rounds";
  ASSERT_EQ(audio.samples_16khz.size(), 16'001U);
  for (std::size_t i = 2'000; i < 14'000; ++i) {
    const double time = static_cast<double>(i) / 16'000;
    ASSERT_NEAR(audio.samples_16khz[i], 0.25 * (tone(time, 300) + tone(time, 1000)), 1e-4) << i;
  }
  EXPECT_THROW((void)to_reference_audio({0, 1, {}}), std::invalid_argument);
  EXPECT_THROW((void)to_reference_audio({rate, 0, {}}), std::invalid_argument);
}

TEST(Resampler, LengthsAreThoseOfLibrosa) {
  const auto length = [](std::size_t samples, int from, int to) {
    return resample(std::vector<float>(samples), from, to).size();
  };
  EXPECT_EQ(length(24'000, 24'000, 16'000), 16'000U);
  EXPECT_EQ(length(24'001, 24'000, 16'000), 16'001U);
  EXPECT_EQ(length(44'100, 44'100, 24'000), 24'001U) << "44100 x (24000 / 44100) in double is more than 24000";
  EXPECT_EQ(length(485'100, 44'100, 24'000), 264'000U);
  EXPECT_EQ(length(8'001, 8'000, 24'000), 24'003U);
  EXPECT_EQ(length(0, 8'000, 24'000), 0U);
  EXPECT_EQ(length(5, 24'000, 24'000), 5U);
}

} // namespace
} // namespace audiobookd::storage
