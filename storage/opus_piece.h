// A stretch of an Opus stream, encoded by an encoder of its own (libopus through libsndfile). Stateless; any thread,
// any number at once.
//
// What a decoder knows of the past fades within a tenth of a second, and what an encoder knows hardly later: an encoder
// starts a second early, its first packets are dropped, and the rest continues the stream of another.
#pragma once

#include "storage/audio_format.h"
#include "storage/levels.h"
#include "storage/piece_stream.h"

#include <cstddef>
#include <vector>

namespace audiobookd::storage {

inline constexpr std::size_t opus_packet_samples = 480;   ///< at 24 kHz: 20 ms
inline constexpr std::size_t opus_packet_positions = 960; ///< that a packet stands for, at the 48 kHz of Ogg Opus

struct OpusPiece {
  std::vector<std::vector<std::byte>> packets;
  int pre_skip = 0; ///< of the encoder, at 48 kHz
  Levels levels;
  double seconds = 0; ///< of CPU time
};

/// How a stream is cut for encode_opus_piece().
[[nodiscard]] PieceCut opus_cut();

/// Adjusts and encodes. @param settings, levels are valid; samples are finite.
/// @throws TransientError when libsndfile fails or gives other packets than expected.
[[nodiscard]] OpusPiece encode_opus_piece(const OpusSettings& settings, const LevelSettings& levels,
                                          PieceSamples source);

} // namespace audiobookd::storage
