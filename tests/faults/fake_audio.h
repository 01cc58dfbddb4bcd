// What the fake engine speaks: for every text a tone of its own, whose length follows from the text, so that a test can
// say how long a book must be. Stateless.
#pragma once

#include "engine/hash128.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string_view>
#include <vector>

namespace audiobookd::tests {

constexpr int fake_sample_rate = 24'000;

/// Speech tokens of @p text, at 25 a second.
[[nodiscard]] constexpr std::size_t fake_tokens(std::string_view text) { return 2 + text.size() / 4; }

/// Samples of @p text: 40 ms for each token.
[[nodiscard]] constexpr std::size_t fake_samples(std::string_view text) {
  return fake_tokens(text) * fake_sample_rate / 25;
}

/// A tone between 200 and 1224 Hz.
[[nodiscard]] inline std::vector<float> fake_waveform(std::string_view text, std::uint64_t seed) {
  const std::uint64_t hash = engine::HashBuilder().add(text).add(seed).finish().low;
  const double step = 2 * std::numbers::pi * static_cast<double>(200 + hash % 1024) / fake_sample_rate;
  std::vector<float> samples(fake_samples(text));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = 0.2f * static_cast<float>(std::sin(step * static_cast<double>(i)));
  }
  return samples;
}

} // namespace audiobookd::tests
