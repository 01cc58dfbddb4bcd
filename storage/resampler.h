// Changing the sample rate through libsoxr, as librosa.resample(…, res_type="soxr_hq") does. Stateless; any thread.
#pragma once

#include <span>
#include <vector>

namespace audiobookd::storage {

/// Band-limited resampling at soxr's quality HQ. The result starts where the input starts.
/// @param samples mono, may be empty. @param from, to samples a second, positive.
/// @return ceil(n · to / from) samples, computed in double as librosa does; the input itself when the rates are equal
/// @throws std::runtime_error with soxr's reason: rates that it refuses, no memory.
[[nodiscard]] std::vector<float> resample(std::span<const float> samples, int from, int to);

} // namespace audiobookd::storage
