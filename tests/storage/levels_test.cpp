// Loudness, true peak and limiter, against an independent meter and against what they promise.
#include "storage/errors.h"
#include "storage/levels.h"
#include "storage/limiter.h"
#include "storage/loudness.h"
#include "storage/wav_file.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <random>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

constexpr int rate = 24'000;

std::vector<float> tone(double hz, double amplitude, std::size_t num_samples, double phase = 0) {
  std::vector<float> samples(num_samples);
  for (std::size_t i = 0; i < num_samples; ++i) {
    const double angle = phase + 2 * std::numbers::pi * hz * static_cast<double>(i) / rate;
    samples[i] = static_cast<float>(amplitude * std::sin(angle));
  }
  return samples;
}

/// Bursts of coloured noise of many loudnesses, and silences between them.
std::vector<float> bursts(std::size_t num_samples) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> samples(num_samples);
  float last = 0;
  for (std::size_t i = 0; i < num_samples; ++i) {
    const std::size_t second = i / 9'000;
    const float loudness = second % 4 == 3 ? 0 : 0.02F * static_cast<float>(1 + second * 7 % 11);
    last = 0.7F * last + normal(random);
    samples[i] = loudness * last;
  }
  return samples;
}

Levels levels_of(const std::vector<float>& samples) { return Levels::of(samples, 0, samples.size(), rate); }

/// What ffmpeg's meter says behind @p label, in the summary of its filter ebur128.
double ffmpeg_level(const std::filesystem::path& file, const std::string& label) {
  const std::string text =
      tests::output_of("ffmpeg -hide_banner -nostats -i '" + file.string() + "' -af ebur128=peak=true -f null - 2>&1");
  const std::size_t summary = text.find("Summary:");
  const std::size_t at = text.find(label, summary);
  EXPECT_NE(at, std::string::npos) << text;
  return std::stod(text.substr(at + label.size()));
}

TEST(Loudness, OfASineIsThatOfTheStandard) {
  // BS.1770: 0 dBFS at 997 Hz in one channel is -3.01 LUFS
  EXPECT_NEAR(levels_of(tone(997, 0.1, 240'000)).loudness_lufs(), -23.01, 0.05);
}

TEST(Loudness, AndTruePeakAreWhatAnotherMeterSays) {
  const tests::ScratchFolder folder;
  const std::vector<float> sound = bursts(40 * rate);
  write_wav(folder / "x.wav", rate, sound);
  const Levels levels = levels_of(sound);
  EXPECT_NEAR(levels.loudness_lufs(), ffmpeg_level(folder / "x.wav", "I:"), 0.15); // it has one decimal
  EXPECT_NEAR(levels.true_peak_dbtp(), ffmpeg_level(folder / "x.wav", "Peak:"), 0.3);
}

TEST(Loudness, SilenceIsGatedAndNothingElseIsMinusInfinity) {
  std::vector<float> sound = tone(997, 0.1, 240'000);
  const double without = levels_of(sound).loudness_lufs();
  sound.resize(10 * sound.size());
  EXPECT_NEAR(levels_of(sound).loudness_lufs(), without, 0.1);
  const Levels silence = levels_of(std::vector<float>(rate));
  EXPECT_EQ(silence.loudness_lufs(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(silence.true_peak_dbtp(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(levels_of({}).rms_dbfs(), -std::numeric_limits<double>::infinity());
}

TEST(NoiseFloor, IsThatOfTheQuietestHalfSecond) {
  std::vector<float> sound = tone(997, 0.1, 20 * rate);
  const auto at = [&](double seconds) { return sound.begin() + std::lround(seconds * rate); };
  std::transform(at(3), at(3.4), at(3), [](float sample) { return 0 * sample; }); // too short to count alone
  std::transform(at(11.93), at(12.65), at(11.93), [](float sample) { return 0.001F * sample; });
  EXPECT_NEAR(levels_of(sound).noise_floor_dbfs(), -83.01, 0.05);
  EXPECT_NEAR(levels_of(tone(997, 0.1, rate / 4)).noise_floor_dbfs(), -23.01, 0.05) << "of all of it";
  EXPECT_EQ(levels_of(std::vector<float>(rate)).noise_floor_dbfs(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(levels_of({}).noise_floor_dbfs(), -std::numeric_limits<double>::infinity());
}

TEST(NoiseFloor, OfStretchesIsThatOfTheWhole) {
  const std::size_t stretch = 5 * rate + 777;
  for (const double quiet_from : {0.0, 4.4, 4.9, 9.7, 19.3}) { // inside of stretches, and over their edges
    std::vector<float> sound = tone(997, 0.1, 20 * rate);
    std::fill_n(sound.begin() + std::lround(quiet_from * rate), rate * 7 / 10, 1e-3F);
    Levels sum;
    for (std::size_t begin = 0; begin < sound.size(); begin += stretch) {
      sum.add(Levels::of(sound, begin, std::min(stretch, sound.size() - begin), rate));
    }
    EXPECT_NEAR(sum.noise_floor_dbfs(), -60, 0.01) << quiet_from;
    EXPECT_NEAR(levels_of(sound).noise_floor_dbfs(), -60, 0.01) << quiet_from;
  }
}

TEST(TruePeak, IsSeenBetweenSamples) {
  // a quarter of the sample rate, shifted by an eighth of a period: every sample is at 0.707 of the peak
  const std::vector<float> sound = tone(rate / 4.0, 0.5, 2000, std::numbers::pi / 4);
  const Levels levels = levels_of(sound);
  EXPECT_NEAR(levels.peak(), 0.5 * std::sqrt(0.5), 1e-3);
  EXPECT_NEAR(levels.true_peak_dbtp(), 20 * std::log10(0.5), 0.15);
}

TEST(Limiter, LeavesEveryTruePeakUnderTheCeiling) {
  for (const double gain_db : {3.0, 12.0, 24.0}) {
    for (std::vector<float> sound : {bursts(5 * rate), tone(3'000, 0.9, rate), tone(rate / 4.0, 0.9, rate, 0.7),
                                     std::vector<float>{0, 0, 1, 0, 0}, std::vector<float>{-1}}) {
      adjust(sound, {.gain_db = gain_db, .ceiling_dbtp = -3}, rate);
      EXPECT_LE(levels_of(sound).true_peak_dbtp(), -3 + 0.05);
      EXPECT_GT(levels_of(sound).true_peak_dbtp(), -4.5) << "and no further than needed";
    }
  }
}

TEST(Limiter, ChangesNothingFarFromAPeak) {
  std::vector<float> sound = tone(440, 0.3, rate);
  sound[rate / 2] = 1;
  std::vector<float> limited = sound;
  limit(limited, 0.5, rate);
  const std::size_t reach = limiter_reach(rate);
  for (std::size_t i = 0; i < sound.size(); ++i) {
    if (i + reach < rate / 2 || i > rate / 2 + reach) {
      ASSERT_EQ(limited[i], sound[i]) << i;
    }
  }
  EXPECT_LE(limited[rate / 2], 0.5F);
  std::vector<float> quiet = tone(440, 0.3, rate);
  limit(quiet, 0.5, rate);
  EXPECT_EQ(quiet, tone(440, 0.3, rate));
}

TEST(Limiter, TurnsDownWithoutSteps) {
  std::vector<float> sound(rate, 0.25F);
  sound[rate / 2] = 1;
  limit(sound, 0.5, rate);
  sound[rate / 2] = sound[rate / 2 - 1];
  for (std::size_t i = 1; i < sound.size(); ++i) {
    ASSERT_LT(std::abs(sound[i] - sound[i - 1]), 0.002F) << i;
  }
}

TEST(Limiter, OfAStretchIsThatOfTheWhole) {
  const LevelSettings settings{.gain_db = 15, .ceiling_dbtp = -3};
  const std::vector<float> sound = bursts(4 * rate);
  std::vector<float> whole = sound;
  adjust(whole, settings, rate);
  const std::size_t context = levels_context(rate);
  for (const std::size_t begin : {std::size_t{20'000}, std::size_t{33'333}}) {
    std::vector<float> stretch(sound.begin() + static_cast<std::ptrdiff_t>(begin - context),
                               sound.begin() + static_cast<std::ptrdiff_t>(begin + 9'000 + context));
    adjust(stretch, settings, rate);
    for (std::size_t i = 0; i < 9'000; ++i) {
      ASSERT_EQ(stretch[context + i], whole[begin + i]) << begin << "+" << i;
    }
  }
}

TEST(LevelSettings, AreCheckedAndNamed) {
  EXPECT_TRUE(throws_with<PermanentError>([] { check(LevelSettings{.gain_db = 61}); }, "gain_db 61"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check(LevelSettings{.ceiling_dbtp = 0.5}); }, "ceiling_dbtp 0.5"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check(LevelSettings{.gain_db = NAN}); }, "gain_db nan"));
}

} // namespace
} // namespace audiobookd::storage
