// A stretch of an MP3 stream, encoded by an encoder of its own. Stateless; any thread, any number at once.
//
// Frames of a stream without bit reservoir stand alone, so stretches that different encoders made can lie behind one
// another. What an encoder knows of the past (masking, adaptation of the threshold of hearing, step sizes) fades: it
// starts some frames early and these are dropped.
#pragma once

#include "storage/levels.h"
#include "storage/mp3_settings.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// Samples that LAME wants to see after those of a frame before it gives the frame out; at most, in frames.
inline constexpr std::size_t mp3_lookahead_frames = 2;

/// Which frames of a stretch are wanted.
struct Mp3Range {
  std::size_t skip = 0;             ///< frames at the beginning to drop
  std::optional<std::size_t> count; ///< frames after these; nothing: all there are, and the stream ends
};

struct Mp3Piece {
  std::vector<std::byte> bytes;           ///< whole frames
  std::vector<std::uint16_t> frame_sizes; ///< in bytes
  int lowpass_hz = 0;                     ///< of the encoder
  int encoder_delay = 0;                  ///< samples before the first one of the stream
  int encoder_padding = 0;                ///< samples after the last one of the stream, if it ends here
  Levels levels;                          ///< of the samples that these frames stand for
  double seconds = 0;                     ///< of CPU time
};

/// Adjusts @p samples (at the source's rate) in place, resamples and encodes them and keeps the frames of @p range.
/// With a count there must be samples for skip + count + mp3_lookahead_frames frames, and for levels_context() and the
/// resampler behind the last of them.
/// @param settings, levels are valid; samples are finite.
/// @throws TransientError when LAME fails; PermanentError when it refuses the settings.
[[nodiscard]] Mp3Piece encode_mp3_piece(const Mp3Settings& settings, const LevelSettings& levels,
                                        std::span<float> samples, const Mp3Range& range);

} // namespace audiobookd::storage
