// A ByteSink in memory, and sounds to encode. Test thread only.
#pragma once

#include "storage/byte_sink.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

namespace audiobookd::tests {

class MemorySink final : public storage::ByteSink {
public:
  void append(std::span<const std::byte> bytes) override { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (offset + bytes.size() > bytes_.size()) {
      throw std::out_of_range("overwrite outside what was appended");
    }
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void clear() override { bytes_.clear(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] std::string text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

private:
  std::vector<std::byte> bytes_;
};

/// A voice-like sound at 24 kHz: harmonics of a gliding tone below 3 kHz, rising and falling four times a second.
inline std::vector<float> voice_like(std::size_t num_samples) {
  std::vector<float> samples(num_samples);
  double phase = 0;
  for (std::size_t i = 0; i < num_samples; ++i) {
    const double seconds = static_cast<double>(i) / 24000;
    phase += 2 * std::numbers::pi * (140 + 30 * std::sin(3 * seconds)) / 24000;
    const double envelope = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * 4 * seconds);
    double sum = 0;
    for (int harmonic = 1; harmonic <= 16; ++harmonic) {
      sum += std::sin(harmonic * phase) / harmonic;
    }
    samples[i] = static_cast<float>(0.3 * envelope * sum);
  }
  return samples;
}

/// Normalised correlation at lag 0 over the common length; 1 for equal signals.
inline double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

} // namespace audiobookd::tests
