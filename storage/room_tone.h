// Room tone: the quiet noise of a room in which nobody speaks, for audiobooks that may not fall into digital silence.
//
// It lies under all of a file, under speech as well, so that it neither begins nor ends anywhere. One thread at a time
// per room.
#pragma once

#include <cstdint>
#include <span>

namespace audiobookd::storage {

struct RoomToneSettings {
  double level_dbfs = -70; ///< RMS, -120 … -40
  std::uint64_t seed = 0;  ///< another seed, another noise of the same kind
};

/// @throws PermanentError naming the field, the value and the valid range.
void check(const RoomToneSettings& settings);

/// Gaussian noise that falls off above 4 kHz by 6 dB an octave. The same settings give the same noise, however the
/// stream is cut into calls.
class RoomTone {
public:
  /// @param sample_rate in Hz. @throws as check().
  RoomTone(const RoomToneSettings& settings, int sample_rate);

  /// Adds the next samples of the noise to @p samples.
  void add_to(std::span<float> samples);

private:
  float next();

  std::uint64_t state_;
  float feedback_ = 0;
  float gain_ = 0;
  float last_ = 0;
};

} // namespace audiobookd::storage
