// Mixing, measuring and judging clips.
#include "storage/reference_clip.h"

#include "storage/resampler.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <span>
#include <stdexcept>

namespace audiobookd::storage {
namespace {

constexpr int prompt_rate = 24'000;
constexpr int features_rate = 16'000;
constexpr double most_db = 100; // of any ratio: one side is digital silence

// What a good clip keeps to.
constexpr double least_seconds = 1;
constexpr double wanted_seconds = 5;
constexpr double silent_db = -60;
constexpr double quiet_db = -40;
constexpr double most_clipped_seconds = 0.001;
constexpr double wanted_snr_db = 20;
constexpr double music_snr_db = 35; // music further down than this does not reach the voice
constexpr double music_pitch = 0.6;
constexpr double most_mixing_loss_db = 2;

double decibels(double power) { return 10 * std::log10(std::max(power, 1e-12)); }

double ratio_db(double power, double to) { return to <= 0 ? most_db : std::min(most_db, decibels(power / to)); }

double mean_square(std::span<const float> samples) {
  const double sum = std::transform_reduce(samples.begin(), samples.end(), 0.0, std::plus<>(),
                                           [](float sample) { return static_cast<double>(sample) * sample; });
  return samples.empty() ? 0 : sum / static_cast<double>(samples.size());
}

std::vector<float> mix(const AudioClip& clip) {
  const auto channels = static_cast<std::size_t>(clip.channels);
  std::vector<float> mono(clip.samples.size() / channels);
  for (std::size_t i = 0; i < mono.size(); ++i) {
    const auto* const frame = clip.samples.data() + i * channels;
    mono[i] = std::accumulate(frame, frame + channels, 0.0F) / static_cast<float>(channels);
  }
  return mono;
}

/// Seconds of one channel or another spent at full scale.
double clipped_seconds(const AudioClip& clip) {
  constexpr float full_scale = 0.999F;
  constexpr std::size_t least_run = 3;
  const auto channels = static_cast<std::size_t>(clip.channels);
  std::size_t clipped = 0;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    std::size_t run = 0;
    for (std::size_t i = channel; i < clip.samples.size(); i += channels) {
      run = std::abs(clip.samples[i]) >= full_scale ? run + 1 : 0;
      clipped += run == least_run ? least_run : static_cast<std::size_t>(run > least_run);
    }
  }
  return static_cast<double>(clipped) / clip.sample_rate;
}

/// Power of the loudest stretch of 0.4 s, stepping by a quarter of it; of everything when there is less.
double loudest_power(std::span<const float> samples, int rate) {
  const std::size_t length = std::min(samples.size(), static_cast<std::size_t>(rate) * 2 / 5);
  double loudest = 0;
  for (std::size_t i = 0; i + length <= samples.size() && length > 0; i += std::max<std::size_t>(1, length / 4)) {
    loudest = std::max(loudest, mean_square(samples.subspan(i, length)));
  }
  return loudest;
}

/// The largest autocorrelation of a frame at lags of 2.5 to 20 ms, over the energy of both parts.
double pitch_strength(std::span<const float> frame) {
  constexpr std::size_t shortest = features_rate / 400;
  constexpr std::size_t longest = features_rate / 50;
  double strongest = 0;
  for (std::size_t lag = shortest; lag <= longest; ++lag) {
    const std::span<const float> early = frame.first(frame.size() - lag);
    const std::span<const float> late = frame.subspan(lag);
    const double product = std::inner_product(early.begin(), early.end(), late.begin(), 0.0);
    const double energy = std::sqrt(mean_square(early) * mean_square(late)) * static_cast<double>(early.size());
    strongest = std::max(strongest, energy > 0 ? product / energy : 0);
  }
  return strongest;
}

/// Frames of a clip by power, the quietest first.
class RankedFrames {
public:
  RankedFrames(std::span<const float> samples, std::size_t length) {
    for (std::size_t i = 0; i + length <= samples.size(); i += length) {
      frames_.push_back(samples.subspan(i, length));
    }
    std::ranges::stable_sort(frames_, {}, mean_square);
  }
  [[nodiscard]] std::span<const std::span<const float>> quietest_tenth() const {
    return std::span(frames_).first((frames_.size() + 9) / 10);
  }
  [[nodiscard]] std::span<const std::span<const float>> loudest_tenth() const {
    return std::span(frames_).last((frames_.size() + 9) / 10);
  }

private:
  std::vector<std::span<const float>> frames_;
};

template <class Value>
double mean_over(std::span<const std::span<const float>> frames, const Value& value) {
  double sum = 0;
  for (const std::span<const float> frame : frames) {
    sum += value(frame);
  }
  return frames.empty() ? 0 : sum / static_cast<double>(frames.size());
}

std::string number(double value, const char* unit, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %s", digits, value, unit);
  return text;
}

} // namespace

ReferenceAudio to_reference_audio(const AudioClip& clip) {
  if (clip.channels < 1 || clip.sample_rate < 1) {
    throw std::invalid_argument("a clip without channels or without a sample rate");
  }
  ReferenceAudio audio;
  audio.samples_24khz = resample(mix(clip), clip.sample_rate, prompt_rate);
  audio.samples_16khz = resample(audio.samples_24khz, prompt_rate, features_rate);
  return audio;
}

ClipMeasures measure(const AudioClip& clip, const ReferenceAudio& audio) {
  constexpr std::size_t frame_20ms = features_rate / 50;
  ClipMeasures measures;
  const auto frames = static_cast<double>(clip.samples.size()) / clip.channels;
  measures.seconds = frames / clip.sample_rate;
  for (const float sample : clip.samples) {
    measures.peak = std::max(measures.peak, static_cast<double>(std::abs(sample)));
  }
  measures.clipped_seconds = clipped_seconds(clip);
  measures.level_db = decibels(loudest_power(audio.samples_16khz, features_rate));
  const RankedFrames short_frames(audio.samples_16khz, frame_20ms);
  measures.snr_db = ratio_db(mean_over(short_frames.loudest_tenth(), mean_square),
                             mean_over(short_frames.quietest_tenth(), mean_square));
  const RankedFrames long_frames(audio.samples_16khz, 2 * frame_20ms);
  measures.background_pitch = mean_over(long_frames.quietest_tenth(), pitch_strength);
  measures.mixing_loss_db = ratio_db(mean_square(clip.samples), mean_square(mix(clip)));
  return measures;
}

std::vector<Advice> advise(const ClipMeasures& m) {
  std::vector<Advice> advice;
  const auto say = [&](bool refuses, std::string text) { advice.push_back({refuses, std::move(text)}); };
  if (m.seconds < least_seconds) {
    say(true, "the clip lasts " + number(m.seconds, "s", 2) + "; a voice needs at least 1 s, and 10 s make a good one");
  }
  if (m.level_db < silent_db) {
    say(true, "the clip is silent: its loudest part has " + number(m.level_db, "dBFS"));
  }
  if (!advice.empty()) {
    return advice;
  }
  if (m.seconds < wanted_seconds) {
    say(false, "the clip lasts " + number(m.seconds, "s") + "; 5 s are the least for a likeness, and 10 s are used");
  }
  if (m.level_db < quiet_db) {
    say(false, "the clip is quiet: its loudest part has " + number(m.level_db, "dBFS") + "; record it closer");
  }
  if (m.clipped_seconds > most_clipped_seconds) {
    say(false, "the clip is clipped for " + number(1000 * m.clipped_seconds, "ms") + "; record it with less gain");
  }
  if (m.snr_db < music_snr_db && m.background_pitch > music_pitch) {
    say(false, "there is music or hum " + number(m.snr_db, "dB") + " below the voice (its pauses are " +
                   number(100 * m.background_pitch, "%", 0) + " periodic), or no pause; take a clip of speech alone");
  } else if (m.snr_db < wanted_snr_db) {
    say(false,
        "the clip is noisy: pauses are only " + number(m.snr_db, "dB") + " below the voice; 20 dB and more are good");
  }
  if (m.mixing_loss_db > most_mixing_loss_db) {
    say(false, "the channels differ: their mean, which is used, loses " + number(m.mixing_loss_db, "dB") +
                   "; give the channel with the voice alone");
  }
  return advice;
}

} // namespace audiobookd::storage
