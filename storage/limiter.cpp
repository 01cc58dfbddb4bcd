// Peaks of a polyphase interpolation; the gain is a moving minimum, smoothed over the same width.
#include "storage/limiter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <deque>
#include <numbers>

namespace audiobookd::storage {
namespace {

constexpr std::size_t num_phases = 4;
constexpr std::size_t num_taps = 12; // of each phase
constexpr std::size_t taps_before = num_taps / 2 - 1;
constexpr double smoothing_s = 0.02; // to each side

using Phase = std::array<float, num_taps>;

/// The phases between two samples: a sinc under a Kaiser window, each of unit gain at 0 Hz.
std::array<Phase, num_phases - 1> make_phases() {
  constexpr double beta = 5;
  constexpr double half_width = num_taps / 2.0;
  std::array<Phase, num_phases - 1> phases{};
  for (std::size_t p = 0; p < phases.size(); ++p) {
    const double offset = static_cast<double>(taps_before) + static_cast<double>(p + 1) / num_phases;
    double sum = 0;
    std::array<double, num_taps> taps{};
    for (std::size_t i = 0; i < num_taps; ++i) {
      const double x = static_cast<double>(i) - offset;
      const double window = std::cyl_bessel_i(0, beta * std::sqrt(1 - std::pow(x / half_width, 2)));
      taps[i] = window * std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
      sum += taps[i];
    }
    std::ranges::transform(taps, phases[p].begin(), [sum](double tap) { return static_cast<float>(tap / sum); });
  }
  return phases;
}

const std::array<Phase, num_phases - 1>& phases() {
  static const auto made = make_phases();
  return made;
}

/// No interpolated value is further from zero than the largest sample around it times this.
float most_overshoot() {
  float most = 1;
  for (const Phase& phase : phases()) {
    float sum = 0;
    for (const float tap : phase) {
      sum += std::abs(tap);
    }
    most = std::max(most, sum);
  }
  return most;
}

/// The largest absolute value from sample @p i, which exists, up to the next one.
float peak_behind(std::span<const float> samples, std::size_t i) {
  float peak = std::abs(samples[i]);
  for (const Phase& phase : phases()) {
    float value = 0;
    for (std::size_t tap = 0; tap < num_taps; ++tap) {
      const std::size_t at = i + tap - taps_before; // wraps below zero, to something too large
      value += at < samples.size() ? phase[tap] * samples[at] : 0;
    }
    peak = std::max(peak, std::abs(value));
  }
  return peak;
}

/// Calls @p visit with (index, peak_behind()) of every sample around which the signal may exceed @p threshold.
template <typename Visit>
void visit_peaks(std::span<const float> samples, float threshold, Visit visit) {
  constexpr std::size_t block = 64;
  const float harmless = threshold / most_overshoot();
  for (std::size_t begin = 0; begin < samples.size(); begin += block) {
    const std::size_t end = std::min(begin + block, samples.size());
    const std::size_t first = begin - std::min(begin, taps_before);
    const std::size_t last = std::min(end + num_taps - taps_before, samples.size());
    const auto is_loud = [harmless](float sample) { return std::abs(sample) > harmless; };
    if (std::ranges::any_of(samples.subspan(first, last - first), is_loud)) {
      for (std::size_t i = begin; i < end; ++i) {
        visit(i, peak_behind(samples, i));
      }
    }
  }
}

std::size_t smoothing_samples(int sample_rate) {
  return static_cast<std::size_t>(std::lround(smoothing_s * sample_rate));
}

/// Of every sample the smallest value within @p reach to both sides.
std::vector<float> moving_minimum(const std::vector<float>& values, std::size_t reach) {
  std::vector<float> result(values.size());
  std::deque<std::size_t> candidates; // indices of rising values
  for (std::size_t in = 0; in < values.size() + reach; ++in) {
    if (in < values.size()) {
      while (!candidates.empty() && values[candidates.back()] >= values[in]) {
        candidates.pop_back();
      }
      candidates.push_back(in);
    }
    if (in >= reach) {
      const std::size_t out = in - reach;
      while (candidates.front() + reach < out) {
        candidates.pop_front();
      }
      result[out] = values[candidates.front()];
    }
  }
  return result;
}

/// Of every value the sum of those from @p before places before it to @p after places after it; beyond the edges the
/// values are those at the edges. In integers, so that a sum does not depend on where it began.
std::vector<std::int64_t> moving_sum(const std::vector<std::int64_t>& values, std::size_t before, std::size_t after) {
  const std::size_t last = values.size() - 1;
  const auto at = [&](std::size_t i) { return values[std::min(std::max(i, before) - before, last)]; }; // i - before
  std::int64_t sum = 0;
  for (std::size_t i = 0; i <= before + after; ++i) {
    sum += at(i);
  }
  std::vector<std::int64_t> sums(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    sums[i] = sum;
    sum += at(i + before + after + 1) - at(i);
  }
  return sums;
}

/// Smooths what is taken off the gain with a triangle of @p reach to both sides, and applies it.
void apply(std::span<float> samples, const std::vector<float>& minima, std::size_t reach) {
  constexpr double unit = 1 << 24;
  std::vector<std::int64_t> reductions(minima.size());
  std::ranges::transform(minima, reductions.begin(),
                         [](float gain) { return static_cast<std::int64_t>(std::ceil(unit * (1.0 - gain))); });
  const std::vector<std::int64_t> smooth = moving_sum(moving_sum(reductions, reach, 0), 0, reach);
  const double whole = unit * static_cast<double>((reach + 1) * (reach + 1));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (smooth[i] != 0) {
      samples[i] = static_cast<float>(samples[i] * (1 - static_cast<double>(smooth[i]) / whole));
    }
  }
}

} // namespace

std::size_t limiter_reach(int sample_rate) { return 2 * smoothing_samples(sample_rate) + num_taps; }

double true_peak(std::span<const float> samples) {
  float peak = 0;
  for (const float sample : samples) {
    peak = std::max(peak, std::abs(sample));
  }
  const float largest_sample = peak;
  visit_peaks(samples, largest_sample, [&](std::size_t, float value) { peak = std::max(peak, value); });
  return peak;
}

void limit(std::span<float> samples, double ceiling, int sample_rate) {
  const auto most = static_cast<float>(ceiling);
  std::vector<float> gains(samples.size(), 1);
  bool is_over = false;
  visit_peaks(samples, most, [&](std::size_t i, float peak) {
    if (peak > most) {
      is_over = true;
      // a peak between two samples is as loud as both of them
      for (const std::size_t at : {i, std::min(i + 1, samples.size() - 1)}) {
        gains[at] = std::min(gains[at], most / peak);
      }
    }
  });
  if (is_over) {
    const std::size_t reach = smoothing_samples(sample_rate);
    apply(samples, moving_minimum(gains, reach), reach);
  }
}

} // namespace audiobookd::storage
