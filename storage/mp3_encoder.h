// MP3 through LAME, streaming: memory does not grow with the length. One thread at a time per encoder; the work is done
// by a pool that all encoders share.
//
// The stream is cut at fixed samples into pieces of about 30 s, which the pool's threads level, bring to the file's
// sample rate and encode beside each other without bit reservoir, each from 1.9 s before its first frame, so that the
// bytes depend on settings and samples alone (and, as far as measured, are those of a single encoder).
//
// The stream starts with a Xing/LAME header frame that is rewritten by finish() with frame count, seek table, encoder
// delay and padding, so that a gapless decoder gives back exactly the samples written. No time stamps: equal input
// gives equal bytes.
#pragma once

#include "storage/byte_sink.h"
#include "storage/levels.h"
#include "storage/mp3_meter.h"
#include "storage/mp3_piece.h"
#include "storage/mp3_settings.h"
#include "storage/piece_stream.h"
#include "storage/worker_pool.h"
#include "storage/xing_frame.h"

#include <cstdint>
#include <span>

namespace audiobookd::storage {

class Mp3Encoder {
public:
  /// The stream begins at the present end of @p sink. @p sink and @p pool must outlive the encoder, and so must
  /// @p meter, which hears all that is in the sink; null: nobody does. @throws PermanentError as check().
  Mp3Encoder(const Mp3Settings& settings, const LevelSettings& levels, ByteSink& sink, WorkerPool& pool,
             Mp3Meter* meter = nullptr);

  /// @throws as AudioFile::write()
  void write(std::span<const float> samples) { stream_.write(samples); }
  /// Encodes what is buffered and completes the header. Call once, last. @throws as AudioFile::finish()
  void finish();

  /// CPU time that the pool has spent on pieces which are in the sink.
  [[nodiscard]] double cpu_seconds() const noexcept { return cpu_seconds_; }
  /// Of what these pieces encode.
  [[nodiscard]] const Levels& levels() const noexcept { return levels_; }

private:
  void append(const Mp3Piece& piece);

  ByteSink& sink_;
  Mp3Meter* const meter_;
  const std::uint64_t start_;
  XingInfo header_;
  SeekTable seek_table_;
  double cpu_seconds_ = 0;
  Levels levels_;
  PieceStream<Mp3Piece> stream_; // last: uses everything above
};

} // namespace audiobookd::storage
