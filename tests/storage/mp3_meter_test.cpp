// What Mp3Meter says of a file while it is written is what ffmpeg hears in it afterwards.
#include "storage/audiobook_writer.h"
#include "storage/errors.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <cmath>
#include <random>

namespace audiobookd::storage {
namespace {

constexpr int rate = 24'000;

/// Bursts of noise of many loudnesses, and quiet between them.
std::vector<float> bursts(std::size_t num_samples) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> samples(num_samples);
  float last = 0;
  for (std::size_t i = 0; i < num_samples; ++i) {
    const std::size_t part = i / 9'000;
    const float loudness = part % 4 == 3 ? 0.001F : 0.02F * static_cast<float>(1 + part * 7 % 11);
    last = 0.7F * last + normal(random);
    samples[i] = loudness * last;
  }
  return samples;
}

struct Heard {
  DecodedAudio by_meter;
  std::vector<float> by_ffmpeg;
};

Heard heard_of(const Mp3Settings& settings, const std::vector<float>& samples) {
  const tests::ScratchFolder folder;
  tests::MemorySink sink;
  WorkerPool pool(2);
  AudiobookWriter writer(sink, pool,
                         {.format = settings, .levels = {.gain_db = 6, .ceiling_dbtp = -3}, .measures_decoded = true});
  writer.write(samples);
  const AudiobookSummary summary = writer.finish({});
  tests::write_file(folder / "x.mp3", sink.text());
  return {summary.decoded.value(), tests::ffmpeg_samples(folder / "x.mp3")};
}

double rms_db(std::span<const float> samples) {
  double sum = 0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return 10 * std::log10(sum / static_cast<double>(samples.size()));
}

/// Of 500 ms, by another way: every window that begins on 10 ms.
double quietest_half_second(const std::vector<float>& samples, int sample_rate) {
  const auto window = static_cast<std::size_t>(sample_rate / 2);
  double quietest = 0;
  for (std::size_t begin = 0; begin + window <= samples.size(); begin += static_cast<std::size_t>(sample_rate / 100)) {
    quietest = std::min(quietest, rms_db(std::span(samples).subspan(begin, window)));
  }
  return quietest;
}

TEST(Mp3Meter, HearsWhatFfmpegDecodes) {
  for (const Mp3Settings& settings :
       {Mp3Settings{.sample_rate = 44'100, .bitrate_kbps = 192}, Mp3Settings{.sample_rate = 24'000}}) {
    const auto [by_meter, by_ffmpeg] = heard_of(settings, bursts(71 * rate + 1'234)); // over several pieces
    EXPECT_EQ(std::lround(by_meter.seconds * settings.sample_rate), static_cast<long>(by_ffmpeg.size()));
    EXPECT_NEAR(by_meter.levels.rms_dbfs(), rms_db(by_ffmpeg), 0.001);
    float peak = 0;
    for (const float sample : by_ffmpeg) {
      peak = std::max(peak, std::abs(sample));
    }
    EXPECT_NEAR(by_meter.levels.peak(), peak, 1e-4);
    EXPECT_NEAR(by_meter.levels.noise_floor_dbfs(), quietest_half_second(by_ffmpeg, settings.sample_rate), 0.5);
    ASSERT_EQ(by_meter.powers.size(), by_ffmpeg.size() / static_cast<std::size_t>(settings.sample_rate / 100));
    for (std::size_t i = 0; i < by_meter.powers.size(); i += 97) {
      const auto window = static_cast<std::size_t>(settings.sample_rate / 100);
      EXPECT_NEAR(10 * std::log10(by_meter.powers[i]), rms_db(std::span(by_ffmpeg).subspan(i * window, window)), 0.05);
    }
    EXPECT_EQ(by_meter.sample_rate, settings.sample_rate);
    EXPECT_EQ(by_meter.channels, 1);
    EXPECT_EQ(by_meter.lowest_kbps, settings.bitrate_kbps);
    EXPECT_EQ(by_meter.highest_kbps, settings.bitrate_kbps);
  }
}

TEST(Mp3Meter, SeesThatABitRateVaries) {
  const Heard heard = heard_of({.sample_rate = 44'100, .vbr_quality = 4}, bursts(5 * rate));
  EXPECT_LT(heard.by_meter.lowest_kbps, heard.by_meter.highest_kbps);
}

TEST(Mp3Meter, OfAShortFileHearsAllOfIt) {
  for (const std::size_t num_samples : {1, 100, 2'400}) {
    const Heard heard = heard_of({.sample_rate = 44'100, .bitrate_kbps = 192}, bursts(num_samples));
    EXPECT_EQ(std::lround(heard.by_meter.seconds * 44'100), static_cast<long>(heard.by_ffmpeg.size()));
  }
}

TEST(Mp3Meter, SaysSoWhenFramesCannotBeDecoded) {
  const std::vector<std::byte> noise(5'000, std::byte{0x55});
  EXPECT_TRUE(tests::throws_with<TransientError>(
      [&] {
        WorkerPool pool(1);
        Mp3Meter meter(44'100, pool);
        meter.add(noise, 576);
        meter.finish(1'000);
      },
      "mp3 meter"));
}

} // namespace
} // namespace audiobookd::storage
