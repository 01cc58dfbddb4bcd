#include "daemon/utterance_edges.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

namespace audiobookd::daemon {
namespace {

constexpr double window_s = 0.005;
constexpr double kept_before_s = 0.02;
constexpr double kept_after_s = 0.06;
constexpr double fade_s = 0.005;
constexpr double silence_power = 1e-5; // of the loudest window's: -50 dB

std::size_t to_samples(double seconds, int sample_rate) {
  return static_cast<std::size_t>(std::lround(seconds * sample_rate));
}

/// The power of each window; the last may be shorter.
std::vector<double> window_powers(std::span<const float> samples, std::size_t window) {
  std::vector<double> powers;
  for (std::size_t begin = 0; begin < samples.size(); begin += window) {
    const auto part = samples.subspan(begin, std::min(window, samples.size() - begin));
    double power = 0;
    for (const float sample : part) {
      power += static_cast<double>(sample) * sample;
    }
    powers.push_back(power / static_cast<double>(part.size()));
  }
  return powers;
}

void fade(std::span<float> samples, std::size_t length) {
  length = std::min(length, samples.size() / 2);
  for (std::size_t i = 0; i < length; ++i) {
    const double phase = std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(length);
    const auto gain = static_cast<float>(0.5 - 0.5 * std::cos(phase));
    samples[i] *= gain;
    samples[samples.size() - 1 - i] *= gain;
  }
}

} // namespace

std::span<float> trim_edges(std::span<float> samples, int sample_rate) {
  const std::size_t window = to_samples(window_s, sample_rate);
  const std::vector<double> powers = window_powers(samples, window);
  const double loudest = powers.empty() ? 0 : *std::ranges::max_element(powers);
  if (loudest == 0) {
    return samples;
  }
  const auto is_heard = [loudest](double power) { return power > silence_power * loudest; };
  const auto first = std::ranges::find_if(powers, is_heard) - powers.begin();
  const auto last = powers.rend() - std::find_if(powers.rbegin(), powers.rend(), is_heard); // one behind it
  const std::size_t heard = static_cast<std::size_t>(first) * window;
  const std::size_t begin = heard - std::min(heard, to_samples(kept_before_s, sample_rate));
  const std::size_t end =
      std::min(samples.size(), static_cast<std::size_t>(last) * window + to_samples(kept_after_s, sample_rate));
  const auto part = samples.subspan(begin, end - begin);
  fade(part, to_samples(fade_s, sample_rate));
  return part;
}

} // namespace audiobookd::daemon
