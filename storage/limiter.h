// A look-ahead limiter by true peak: what an analogue output would swing to between samples counts as well. Without
// distortion of its own: the gain changes smoothly, and well before and after a peak.
//
// Pure functions: any thread. What happens to a sample depends on its neighbours within limiter_reach() alone, so that
// a stream can be limited in stretches.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// How many samples before and after a sample may have an influence on what becomes of it.
[[nodiscard]] std::size_t limiter_reach(int sample_rate);

/// The largest absolute value of the signal, on and between its samples; beyond the edges it is silent. Interpolated
/// four times, as ITU-R BS.1770-4, annex 2, asks: up to 0.7 dB (at half the sample rate) are missed.
/// @return 1 is full scale; 0 for no samples
[[nodiscard]] double true_peak(std::span<const float> samples);

/// Turns the gain down around every place where true_peak() would be above @p ceiling; elsewhere nothing changes.
/// @param ceiling 1 is full scale; positive. @param sample_rate in Hz.
void limit(std::span<float> samples, double ceiling, int sample_rate);

} // namespace audiobookd::storage
