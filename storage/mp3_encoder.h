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
#include "storage/encoder.h"
#include "storage/levels.h"
#include "storage/mp3_format.h"
#include "storage/worker_pool.h"
#include "storage/xing_frame.h"

#include <cstdint>
#include <deque>
#include <future>
#include <optional>
#include <vector>

namespace audiobookd::storage {

struct Mp3Piece;

struct Mp3Settings {
  int source_rate = 24'000;            ///< Hz, of the samples; 24000 is the only one supported
  int sample_rate = 24'000;            ///< Hz, of the file: 24000, 44100 or 48000
  int bitrate_kbps = 64;               ///< CBR; which ones there are depends on sample_rate, see Mp3Format
  std::optional<int> vbr_quality = {}; ///< VBR instead of CBR: 0 (best, largest) … 9
  int quality = 5;                     ///< LAME's search effort: 0 (best, slowest) … 9
};

/// @throws PermanentError naming the field, the value and the valid values.
void check(const Mp3Settings& settings);

class Mp3Encoder final : public Encoder {
public:
  /// The stream begins at the present end of @p sink. @p sink and @p pool must outlive the encoder.
  /// @throws PermanentError as check().
  Mp3Encoder(const Mp3Settings& settings, const LevelSettings& levels, ByteSink& sink, WorkerPool& pool);
  ~Mp3Encoder() override;

  /// Waits for the pool when more pieces are outstanding than it has threads, or more than one while other files keep
  /// it busy.
  void write(std::span<const float> samples) override;
  void finish() override;

  /// CPU time that the pool has spent on pieces which are in the sink.
  [[nodiscard]] double cpu_seconds() const noexcept { return cpu_seconds_; }
  /// Of what these pieces encode.
  [[nodiscard]] const Levels& levels() const noexcept { return levels_; }

private:
  void submit(std::vector<float> samples, std::optional<std::size_t> count);
  void submit_full_piece();
  void append_oldest();
  [[nodiscard]] std::size_t most_outstanding() const;
  [[nodiscard]] std::size_t frames_before() const noexcept;
  [[nodiscard]] std::size_t to_source(std::size_t frames) const noexcept;

  const Mp3Settings settings_;
  const Mp3Format& format_;
  const std::size_t piece_frames_;
  const std::size_t overlap_frames_;
  const LevelSettings level_settings_;
  ByteSink& sink_;
  WorkerPool& pool_;
  const std::uint64_t start_;
  std::uint64_t samples_written_ = 0;
  bool is_first_piece_ = true;
  std::vector<float> buffer_;                     // the next piece, with the frames before it
  std::deque<std::future<Mp3Piece>> outstanding_; // in the order of the stream
  XingInfo header_;
  SeekTable seek_table_;
  double cpu_seconds_ = 0;
  Levels levels_;
};

} // namespace audiobookd::storage
