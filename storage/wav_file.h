// Single utterances as WAV (32-bit float, lossless) through libsndfile. Stateless; any thread.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// Decoded audio; channels are interleaved, samples nominally in [-1, 1].
struct AudioClip {
  int sample_rate = 0;
  int channels = 0;
  std::vector<float> samples;
};

/// Writes mono float samples, without time stamps. Not atomic: for scratch files.
/// @throws PermanentError, TransientError naming the file.
void write_wav(const std::filesystem::path& file, int sample_rate, std::span<const float> samples);

/// Reads a whole file of our own making; what comes from outside belongs to decode_in_child().
/// @throws PermanentError naming the file: missing, or as AudioReader with a limit of @p max_seconds.
[[nodiscard]] AudioClip read_audio_file(const std::filesystem::path& file, double max_seconds);

} // namespace audiobookd::storage
