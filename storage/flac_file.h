// FLAC with its tags: the metadata blocks STREAMINFO, VORBIS_COMMENT, PICTURE and PADDING are the file's own, the
// frames libFLAC's (through libsndfile).
//
// Levels and sample rate are changed by the pool, piece by piece; FLAC itself, over a thousand times faster than real
// time, is encoded by the thread that writes.
#pragma once

#include "storage/audio_file.h"
#include "storage/piece_stream.h"
#include "storage/sndfile_writer.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace audiobookd::storage {

/// Samples of a stretch as they are in the file.
struct FlacPiece {
  std::vector<float> samples;
  Levels levels;
  double seconds = 0; ///< of CPU time
};

class FlacFile final : public AudioFile {
public:
  /// @throws as create_audio_file()
  FlacFile(const FlacSettings& settings, const AudioFileParts& parts);

  void write(std::span<const float> samples) override { stream_.write(samples); }
  void finish(const Tags& tags, const std::vector<Chapter>& chapters) override;
  [[nodiscard]] const Levels& levels() const noexcept override { return levels_; }
  [[nodiscard]] double cpu_seconds() const noexcept override { return cpu_seconds_; }

private:
  void output(std::uint64_t offset, std::span<const std::byte> bytes);
  void take_header(std::span<const std::byte> bytes);
  void encode(const FlacPiece& piece);

  ByteSink& sink_;
  const std::uint64_t start_;
  const std::size_t header_bytes_;        // with room for the tags
  std::vector<std::byte> encoder_header_; // libFLAC's
  bool header_is_complete_ = false;
  double cpu_seconds_ = 0;
  Levels levels_;
  SndfileWriter encoder_;
  PieceStream<FlacPiece> stream_; // last: uses everything above
};

} // namespace audiobookd::storage
