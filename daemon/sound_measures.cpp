// Frame levels, and pitch by normalised autocorrelation on a decimated signal.
#include "daemon/sound_measures.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace audiobookd::daemon {
namespace {

constexpr double floor_db = -200;
constexpr double frames_per_second = 100;
constexpr double audible_db = -40; ///< below the speech level: pauses
constexpr double speech_quantile = 0.9;
constexpr float full_scale = 0.985f; // the vocoder limits to 0.99
constexpr std::size_t flat_top = 3;

constexpr double pitch_rate_hz = 6000;
constexpr double lowest_pitch_hz = 60;
constexpr double highest_pitch_hz = 400;
constexpr double pitch_window_s = 0.04;
constexpr double voiced_correlation = 0.6;
constexpr double voiced_contrast = 0.4;

double level_db(std::span<const float> samples) {
  double sum = 0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return samples.empty() || sum == 0 ? floor_db
                                     : std::max(floor_db, 10 * std::log10(sum / static_cast<double>(samples.size())));
}

/// The last one may be a shorter part of a frame.
std::vector<double> frame_levels(std::span<const float> samples, std::size_t frame) {
  std::vector<double> levels;
  for (std::size_t begin = 0; begin < samples.size(); begin += frame) {
    levels.push_back(level_db(samples.subspan(begin, std::min(frame, samples.size() - begin))));
  }
  return levels;
}

double quantile(std::vector<double> values, double share) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

double longest_silence_inside(const std::vector<double>& levels, double threshold) {
  std::size_t longest = 0;
  std::size_t last_loud = levels.size();
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] < threshold) {
      continue;
    }
    if (last_loud < i) {
      longest = std::max(longest, i - last_loud - 1);
    }
    last_loud = i;
  }
  return static_cast<double>(longest) / frames_per_second;
}

/// Means of @p factor samples each: pitch is far below what that removes.
std::vector<float> decimate(std::span<const float> samples, std::size_t factor) {
  std::vector<float> result(samples.size() / factor);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const auto part = samples.subspan(i * factor, factor);
    result[i] = std::accumulate(part.begin(), part.end(), 0.0f) / static_cast<float>(factor);
  }
  return result;
}

/// Normalised autocorrelation of a window.
class Autocorrelation {
public:
  explicit Autocorrelation(std::span<const float> window) : window_(window) {
    energy_.reserve(window.size() + 1);
    for (const float sample : window) {
      energy_.push_back(energy_.back() + static_cast<double>(sample) * sample);
    }
  }
  [[nodiscard]] double at(std::size_t lag) const {
    const std::size_t count = window_.size() - lag;
    float product = 0;
#pragma omp simd reduction(+ : product)
    for (std::size_t i = 0; i < count; ++i) {
      product += window_[i] * window_[i + lag];
    }
    const double energies = energy_[count] * (energy_.back() - energy_[lag]);
    return product / std::max(std::sqrt(energies), 1e-12);
  }

private:
  const std::span<const float> window_;
  std::vector<double> energy_{0.0}; // of so many samples from the beginning
};

/// Whether @p window is like itself a period of a voice later, and less so in between: low rumble is always like
/// itself.
bool has_pitch(std::span<const float> window, double rate) {
  const auto shortest = static_cast<std::size_t>(rate / highest_pitch_hz);
  const auto longest = std::min(static_cast<std::size_t>(rate / lowest_pitch_hz), window.size() / 2);
  const Autocorrelation autocorrelation(window);
  double least = 1;
  for (std::size_t lag = shortest / 2; lag <= longest; ++lag) {
    const double like = autocorrelation.at(lag);
    least = std::min(least, like);
    if (lag >= shortest && like > voiced_correlation && like > least + voiced_contrast) {
      return true;
    }
  }
  return false;
}

/// Fills in what is said of pitch.
void measure_pitch(std::span<const float> samples, int sample_rate, const std::vector<double>& levels, double threshold,
                   SoundMeasures& measures) {
  const auto factor = std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(sample_rate / pitch_rate_hz)));
  const double rate = static_cast<double>(sample_rate) / static_cast<double>(factor);
  const std::vector<float> slow = decimate(samples, factor);
  const auto window = static_cast<std::size_t>(pitch_window_s * rate);
  std::size_t audible = 0, voiced = 0, run = 0, longest = 0;
  for (std::size_t frame = 0; frame < levels.size(); ++frame) {
    const auto begin = static_cast<std::size_t>(static_cast<double>(frame) / frames_per_second * rate);
    if (levels[frame] < threshold || begin + window > slow.size()) {
      continue;
    }
    ++audible;
    const bool is_voiced = has_pitch(std::span(slow).subspan(begin, window), rate);
    voiced += is_voiced ? 1 : 0;
    run = is_voiced ? 0 : run + 1;
    longest = std::max(longest, run);
  }
  measures.voiced_share = audible == 0 ? 0 : static_cast<double>(voiced) / static_cast<double>(audible);
  measures.voiceless_s = static_cast<double>(longest) / frames_per_second;
}

} // namespace

double clipped_share(std::span<const float> samples) {
  if (samples.empty()) {
    return 0;
  }
  std::size_t clipped = 0;
  std::size_t run = 0;
  for (const float sample : samples) {
    run = std::abs(sample) >= full_scale ? run + 1 : 0;
    clipped += run == flat_top ? flat_top : run > flat_top ? 1 : 0;
  }
  return static_cast<double>(clipped) / static_cast<double>(samples.size());
}

SoundMeasures measure_sound(std::span<const float> samples, int sample_rate) {
  SoundMeasures measures;
  if (samples.empty()) {
    return measures;
  }
  const auto frame = std::max<std::size_t>(1, static_cast<std::size_t>(sample_rate / frames_per_second));
  const std::vector<double> levels = frame_levels(samples, frame);
  measures.seconds = static_cast<double>(samples.size()) / sample_rate;
  measures.speech_dbfs = quantile(levels, speech_quantile);
  measures.end_db = level_db(samples.last(std::min(frame, samples.size()))) - measures.speech_dbfs;
  const double threshold = measures.speech_dbfs + audible_db;
  measures.silence_s = longest_silence_inside(levels, threshold);
  measures.clipped_share = clipped_share(samples);
  measure_pitch(samples, sample_rate, levels, threshold, measures);
  return measures;
}

} // namespace audiobookd::daemon
