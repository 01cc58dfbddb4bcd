// How loud a programme is, and making it as loud as it should be.
//
// Plain values and pure functions: any thread. A stream can be treated in stretches that know some of what is before
// and after them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace audiobookd::storage {

struct LevelSettings {
  double gain_db = 0;                      ///< -60 … 60
  std::optional<double> ceiling_dbtp = {}; ///< true peaks above are limited; -60 … 0. Nothing: no limiter
};

/// @throws PermanentError naming the field, the value and the valid range.
void check(const LevelSettings& settings);

/// Applies gain and limiter.
void adjust(std::span<float> samples, const LevelSettings& settings, int sample_rate);

/// Samples that must be known before and after a stretch, so that adjust() makes the same of it as of the whole.
[[nodiscard]] std::size_t levels_context(int sample_rate);

/// Measured over a programme, pauses included. Decibels of nothing are -infinity.
class Levels {
public:
  /// Of the @p count samples behind the first @p lead of @p samples; the others are their neighbourhood.
  static Levels of(std::span<const float> samples, std::size_t lead, std::size_t count, int sample_rate);

  /// Continues with the levels of the next stretch.
  void add(const Levels& next);

  [[nodiscard]] double peak() const noexcept { return peak_; } ///< largest absolute sample; 1 is full scale
  [[nodiscard]] double true_peak_dbtp() const noexcept;        ///< see true_peak()
  [[nodiscard]] double rms_dbfs() const noexcept;
  [[nodiscard]] double loudness_lufs() const; ///< see integrated_loudness()
  /// RMS of the quietest half second: of windows of 500 ms, each 100 ms after the one before (a window may be up to 50
  /// ms longer or shorter where stretches meet). Of the whole when that is not longer than a window.
  [[nodiscard]] double noise_floor_dbfs() const;

private:
  /// About 100 ms.
  struct Hop {
    float mean_square = 0;
    std::uint32_t num_samples = 0;
  };

  static std::vector<Hop> hops_of(std::span<const float> samples, int sample_rate);

  std::uint64_t num_samples_ = 0;
  double sum_of_squares_ = 0;
  double peak_ = 0;
  double true_peak_ = 0;
  std::vector<float> blocks_; // see block_loudness()
  std::vector<Hop> hops_;
};

} // namespace audiobookd::storage
