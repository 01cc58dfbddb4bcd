// How long a voice takes: a synthetic clip, prepared by the models of a checkpoint.
#include "bench/benchmarks.h"
#include "bench/report.h"
#include "engine/voice_cloner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <numbers>
#include <vector>

namespace audiobookd::bench {
namespace {

/// A voice-like sound: harmonics of a pitch that moves, four syllables a second, never silent for long.
std::vector<float> hum(double seconds, int sample_rate) {
  std::vector<float> samples(static_cast<std::size_t>(seconds * sample_rate));
  double phase = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double time = static_cast<double>(i) / sample_rate;
    phase += 2 * std::numbers::pi * (140 + 30 * std::sin(2 * time)) / sample_rate;
    double sum = 0;
    for (int harmonic = 1; harmonic <= 20; ++harmonic) {
      sum += std::sin(harmonic * phase) / harmonic;
    }
    samples[i] = static_cast<float>(0.2 * sum * (0.55 + 0.45 * std::sin(8 * std::numbers::pi * time)));
  }
  return samples;
}

double milliseconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

} // namespace

void bench_clip(const Options& options) {
  const std::vector<float> clip_24 = hum(options.clip_seconds, 24'000);
  const std::vector<float> clip_16 = hum(options.clip_seconds, 16'000);
  std::unique_ptr<engine::VoiceCloner> cloner;
  Json result;
  result["checkpoint"] = options.checkpoint.string();
  result["device"] = options.device;
  result["threads"] = options.threads;
  result["clip_seconds"] = options.clip_seconds;
  result["load_ms"] =
      milliseconds([&] { cloner = engine::VoiceCloner::load(options.checkpoint, options.device, options.threads); });
  const auto prepare = [&] { (void)cloner->prepare({clip_24, clip_16}); };
  result["first_ms"] = milliseconds(prepare); // a GPU chooses its algorithms
  std::vector<double> times(7);
  std::ranges::generate(times, [&] { return milliseconds(prepare); });
  std::ranges::sort(times);
  result["median_ms"] = times[times.size() / 2];
  result["longest_ms"] = times.back();
  print_report("clip", result);
}

} // namespace audiobookd::bench
