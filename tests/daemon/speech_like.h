// Sounds that the gates take for speech, and others. Plain functions; any thread.
#pragma once

#include "engine/alignment.h"
#include "engine/utterance.h"

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace audiobookd::daemon::testing {

/// A buzz of 120 Hz whose loudness comes and goes like syllables, with a quiet end.
inline engine::Waveform speech_like(double seconds, float level = 0.3f) {
  engine::Waveform waveform;
  constexpr double pi = std::numbers::pi;
  const auto size = static_cast<std::size_t>(seconds * waveform.sample_rate);
  for (std::size_t i = 0; i < size; ++i) {
    const double t = static_cast<double>(i) / waveform.sample_rate;
    double buzz = 0;
    for (int harmonic = 1; harmonic <= 8; ++harmonic) {
      buzz += std::sin(2 * pi * 120 * harmonic * t) / harmonic;
    }
    const double syllable = 0.55 - 0.45 * std::cos(2 * pi * 4 * t);
    const double end = std::min(1.0, (seconds - t) / 0.1);
    waveform.samples.push_back(level * static_cast<float>(buzz * syllable * end * end));
  }
  return waveform;
}

inline engine::Waveform noise(double seconds, float level = 0.3f) {
  engine::Waveform waveform;
  std::uint64_t state = 1;
  for (std::size_t i = 0; i < static_cast<std::size_t>(seconds * waveform.sample_rate); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    waveform.samples.push_back(level * (static_cast<float>(state >> 40) / 8388608.0f - 1));
  }
  return waveform;
}

/// Speech without its quiet end.
inline engine::Waveform cut_off(engine::Waveform waveform) {
  waveform.samples.resize(waveform.samples.size() - waveform.samples.size() / 3 / 6000 * 6000 - 3000);
  return waveform;
}

/// One head that reads steadily, @p steps_per_position steps at each of @p text_length positions.
inline engine::Alignment steady(int text_length, int steps_per_position) {
  engine::Alignment alignment;
  alignment.num_heads = 1;
  alignment.text_length = text_length;
  alignment.positions.push_back(-1);
  for (int position = 1; position < text_length; ++position) {
    alignment.positions.insert(alignment.positions.end(), static_cast<std::size_t>(steps_per_position), position);
  }
  return alignment;
}

} // namespace audiobookd::daemon::testing
