// How fast books become files: levels, sample rate and codec, without an engine. Redis and disk are not part of it.
#include "bench/benchmarks.h"
#include "bench/meter.h"
#include "bench/report.h"
#include "storage/audiobook_writer.h"

#include <cmath>
#include <numbers>
#include <random>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace audiobookd::bench {
namespace {

constexpr int sample_rate = 24'000;
constexpr std::size_t utterance_samples = 14UL * sample_rate;
constexpr double pause_s = 0.6;

/// Something like speech, of which an encoder has as much to do: a gliding voice with formants that come and go, and
/// breath between.
std::vector<float> make_speech(std::size_t num_samples) {
  std::mt19937 random(1);
  std::normal_distribution<double> noise(0, 1);
  std::vector<float> samples(num_samples);
  double phase = 0;
  for (std::size_t i = 0; i < num_samples; ++i) {
    const double seconds = static_cast<double>(i) / sample_rate;
    phase += 2 * std::numbers::pi * (130 + 40 * std::sin(2.3 * seconds)) / sample_rate;
    const double syllable = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * 4 * seconds);
    double voice = 0;
    for (int harmonic = 1; harmonic <= 24; ++harmonic) {
      const double formant = 1.5 + std::sin(0.7 * harmonic + 9 * seconds);
      voice += formant * std::sin(harmonic * phase) / harmonic;
    }
    samples[i] = static_cast<float>(0.08 * syllable * voice + 0.02 * (1 - syllable) * noise(random));
  }
  return samples;
}

/// Counts bytes and forgets them.
class CountingSink final : public storage::ByteSink {
public:
  void append(std::span<const std::byte> bytes) override { size_ += bytes.size(); }
  void overwrite(std::uint64_t, std::span<const std::byte>) override {}
  void clear() override { size_ = 0; }
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }

private:
  std::uint64_t size_ = 0;
};

Json measure(const storage::AudioFormat& format, std::span<const float> utterance, const Options& options) {
  storage::WorkerPool pool(options.threads);
  CountingSink sink;
  storage::AudiobookWriter writer(
      sink, pool, {.format = format, .levels = {.gain_db = 6, .ceiling_dbtp = -3.5}, .tags = {}, .chapter_titles = {}});
  const Meter meter(at::kCPU);
  for (int i = 0; i < options.utterances; ++i) {
    writer.write(utterance);
    writer.pause(pause_s);
  }
  const storage::AudiobookSummary summary = writer.finish({});
  const double seconds = meter.seconds();
  return {{"times_real_time", summary.seconds / seconds},
          {"times_real_time_per_cpu_second", summary.seconds / summary.encode_seconds},
          {"wall_seconds", seconds},
          {"kbit_per_second", 8e-3 * static_cast<double>(sink.size()) / summary.seconds}};
}

} // namespace

void bench_encode(const Options& options) {
  if (options.profiled()) {
    throw std::invalid_argument("--shares and --profile watch an engine: encode has none");
  }
  const std::vector<float> utterance = make_speech(utterance_samples);
  using storage::Mp3Settings;
  const std::pair<const char*, storage::AudioFormat> formats[] = {
      {"mp3 24 kHz 64 kbit/s", Mp3Settings()},
      {"mp3 44.1 kHz 192 kbit/s", Mp3Settings{.sample_rate = 44'100, .bitrate_kbps = 192}},
      {"flac 24 kHz", storage::FlacSettings()},
      {"opus 32 kbit/s", storage::OpusSettings()}};
  Json report = {{"threads", options.threads},
                 {"audio_minutes", options.utterances * (utterance_samples / double{sample_rate} + pause_s) / 60}};
  for (const auto& [name, format] : formats) {
    report[name] = measure(format, utterance, options);
  }
  print_report("encode", report);
}

} // namespace audiobookd::bench
