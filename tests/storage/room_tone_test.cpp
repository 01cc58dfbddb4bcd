// Room tone: its level, its evenness, that it does not depend on how a stream is cut; and an audiobook file that never
// falls silent.
#include "storage/audiobook_writer.h"
#include "storage/errors.h"
#include "storage/room_tone.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <cmath>
#include <numbers>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

constexpr int rate = 24'000;

double db(double mean_square) { return 10 * std::log10(mean_square); }

double mean_square(std::span<const float> samples) {
  double sum = 0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return sum / static_cast<double>(samples.size());
}

std::vector<float> tone_of(const RoomToneSettings& settings, std::size_t num_samples) {
  std::vector<float> samples(num_samples);
  RoomTone(settings, rate).add_to(samples);
  return samples;
}

TEST(RoomTone, HasItsLevelInEveryTenthOfASecond) {
  for (const double level : {-70.0, -90.0}) {
    const std::vector<float> samples = tone_of({.level_dbfs = level}, 20 * rate);
    EXPECT_NEAR(db(mean_square(samples)), level, 0.1);
    for (std::size_t begin = 0; begin < samples.size(); begin += rate / 10) {
      EXPECT_NEAR(db(mean_square(std::span(samples).subspan(begin, rate / 10))), level, 1.5) << begin;
    }
  }
}

TEST(RoomTone, HasNoMeanAndNoClicks) {
  const std::vector<float> samples = tone_of({.level_dbfs = -70}, 20 * rate);
  const double rms = std::pow(10, -70 / 20.0);
  double sum = 0;
  for (const float sample : samples) {
    sum += sample;
    ASSERT_LT(std::abs(sample), 6 * rms);
  }
  EXPECT_LT(std::abs(sum / static_cast<double>(samples.size())), 0.02 * rms);
}

TEST(RoomTone, IsTheSameHoweverTheStreamIsCutAndAnotherWithAnotherSeed) {
  const std::vector<float> whole = tone_of({.seed = 7}, 10'000);
  std::vector<float> cut(10'000);
  RoomTone tone({.seed = 7}, rate);
  for (std::size_t begin = 0, length = 1; begin < cut.size(); begin += length, length = length * 3 % 1'001 + 1) {
    tone.add_to(std::span(cut).subspan(begin, std::min(length, cut.size() - begin)));
  }
  EXPECT_EQ(cut, whole);
  EXPECT_NE(tone_of({.seed = 8}, 10'000), whole);
}

TEST(RoomTone, SettingsAreCheckedAndNamed) {
  EXPECT_TRUE(throws_with<PermanentError>([] { check(RoomToneSettings{.level_dbfs = -30}); }, "level_dbfs -30"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check(RoomToneSettings{.level_dbfs = NAN}); }, "level_dbfs nan"));
}

/// A second of silence, a second of a tone that is cut off at both ends as utterances are, and so on.
std::string file_with_room_tone(double gain_db, int num_threads) {
  std::vector<float> tone(rate);
  for (std::size_t i = 0; i < tone.size(); ++i) {
    tone[i] = static_cast<float>(0.05 * std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) / rate));
  }
  tests::MemorySink sink;
  WorkerPool pool(num_threads);
  AudiobookWriter writer(sink, pool,
                         {.format = Mp3Settings{.sample_rate = 44'100, .bitrate_kbps = 192},
                          .levels = {.gain_db = gain_db, .ceiling_dbtp = -3},
                          .room_tone = RoomToneSettings{}});
  for (int i = 0; i < 20; ++i) {
    writer.pause(1);
    writer.write(tone);
  }
  writer.pause(1);
  writer.finish({});
  return sink.text();
}

TEST(RoomTone, KeepsItsLevelThroughGainResamplingAndMp3) {
  const tests::ScratchFolder folder;
  for (const double gain_db : {-6.0, 0.0, 15.0}) {
    tests::write_file(folder / "x.mp3", file_with_room_tone(gain_db, 2));
    const std::vector<float> heard = tests::ffmpeg_samples(folder / "x.mp3");
    for (std::size_t second = 0; second <= 40; second += 2) { // what is between the tones, but for their echoes
      const auto pause = std::span(heard).subspan(second * 44'100 + 4'410, 35'280);
      EXPECT_NEAR(db(mean_square(pause)), -70, 1) << "gain " << gain_db << ", second " << second;
    }
  }
}

TEST(RoomTone, GivesTheSameBytesWithAnyNumberOfThreads) {
  EXPECT_TRUE(file_with_room_tone(3, 1) == file_with_room_tone(3, 4));
}

} // namespace
} // namespace audiobookd::storage
