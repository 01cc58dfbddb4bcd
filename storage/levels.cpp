#include "storage/levels.h"

#include "storage/errors.h"
#include "storage/limiter.h"
#include "storage/loudness.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr std::size_t hops_of_window = 5;

double to_amplitude(double db) { return std::pow(10, db / 20); }
double to_db(double amplitude) { return 20 * std::log10(amplitude); }

void check_range(const char* field, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    throw PermanentError(std::string("levels: ") + field + " " + std::to_string(value) + " is not in " +
                         std::to_string(low) + " … " + std::to_string(high));
  }
}

} // namespace

void check(const LevelSettings& settings) {
  check_range("gain_db", settings.gain_db, -60, 60);
  if (settings.ceiling_dbtp) {
    check_range("ceiling_dbtp", *settings.ceiling_dbtp, -60, 0);
  }
}

void adjust(std::span<float> samples, const LevelSettings& settings, int sample_rate) {
  if (settings.gain_db != 0) {
    const auto gain = static_cast<float>(to_amplitude(settings.gain_db));
    std::ranges::for_each(samples, [gain](float& sample) { sample *= gain; });
  }
  if (settings.ceiling_dbtp) {
    limit(samples, to_amplitude(*settings.ceiling_dbtp), sample_rate);
  }
}

std::size_t levels_context(int sample_rate) { return limiter_reach(sample_rate); }

Levels Levels::of(std::span<const float> samples, std::size_t lead, std::size_t count, int sample_rate) {
  const auto part = samples.subspan(lead, count);
  Levels levels;
  levels.num_samples_ = part.size();
  for (const float sample : part) {
    levels.sum_of_squares_ += static_cast<double>(sample) * sample;
    levels.peak_ = std::max(levels.peak_, std::abs(static_cast<double>(sample)));
  }
  levels.true_peak_ = true_peak(part);
  levels.blocks_ = block_loudness(samples.first(lead + part.size()), lead, sample_rate);
  levels.hops_ = hops_of(part, sample_rate);
  return levels;
}

void Levels::add(const Levels& next) {
  num_samples_ += next.num_samples_;
  sum_of_squares_ += next.sum_of_squares_;
  peak_ = std::max(peak_, next.peak_);
  true_peak_ = std::max(true_peak_, next.true_peak_);
  blocks_.insert(blocks_.end(), next.blocks_.begin(), next.blocks_.end());
  hops_.insert(hops_.end(), next.hops_.begin(), next.hops_.end());
}

/// As many hops as 100 ms go into @p samples, all of the same length but for one sample: nothing is left at the end.
std::vector<Levels::Hop> Levels::hops_of(std::span<const float> samples, int sample_rate) {
  if (samples.empty()) {
    return {};
  }
  const std::size_t hop = loudness_hop(sample_rate);
  const std::size_t count = std::max<std::size_t>(1, (samples.size() + hop / 2) / hop);
  std::vector<Hop> hops(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = samples.size() * i / count;
    const std::size_t end = samples.size() * (i + 1) / count;
    double sum = 0;
    for (const float sample : samples.subspan(begin, end - begin)) {
      sum += static_cast<double>(sample) * sample;
    }
    const auto length = std::max<std::size_t>(1, end - begin);
    hops[i] = {static_cast<float>(sum / static_cast<double>(length)), static_cast<std::uint32_t>(length)};
  }
  return hops;
}

double Levels::noise_floor_dbfs() const {
  if (hops_.size() <= hops_of_window) {
    return rms_dbfs();
  }
  double quietest = INFINITY;
  for (auto first = hops_.begin(); hops_.end() - first >= static_cast<std::ptrdiff_t>(hops_of_window); ++first) {
    double energy = 0;
    double samples = 0;
    for (const Hop& hop : std::span(first, hops_of_window)) {
      energy += static_cast<double>(hop.mean_square) * hop.num_samples;
      samples += hop.num_samples;
    }
    quietest = std::min(quietest, energy / samples);
  }
  return 10 * std::log10(quietest);
}

double Levels::true_peak_dbtp() const noexcept { return to_db(true_peak_); }

double Levels::rms_dbfs() const noexcept {
  return num_samples_ == 0 ? -INFINITY : to_db(std::sqrt(sum_of_squares_ / static_cast<double>(num_samples_)));
}

double Levels::loudness_lufs() const { return integrated_loudness(blocks_); }

} // namespace audiobookd::storage
