// Opus in Ogg with its tags (RFC 7845). The pool levels and encodes pieces of 30 s beside each other; libogg makes one
// stream of their packets.
#pragma once

#include "storage/audio_file.h"
#include "storage/opus_piece.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace audiobookd::storage {

class OggWriter;

class OpusFile final : public AudioFile {
public:
  /// @throws as create_audio_file()
  OpusFile(const OpusSettings& settings, const AudioFileParts& parts);
  ~OpusFile() override;

  void write(std::span<const float> samples) override;
  void finish(const Tags& tags, const std::vector<Chapter>& chapters) override;
  [[nodiscard]] const Levels& levels() const noexcept override { return levels_; }
  [[nodiscard]] double cpu_seconds() const noexcept override { return cpu_seconds_; }

private:
  void append(OpusPiece piece);
  void append_packet(const std::vector<std::byte>& packet, bool is_last);

  ByteSink& sink_;
  const std::uint64_t start_;
  const std::size_t tag_bytes_; // of the packet OpusTags
  const std::unique_ptr<OggWriter> ogg_;
  std::uint64_t samples_ = 0;
  int pre_skip_ = 0;
  std::int64_t position_ = 0;          // at 48 kHz, behind the packets in ogg_
  std::vector<std::byte> last_packet_; // held back: it may be the stream's last
  double cpu_seconds_ = 0;
  Levels levels_;
  PieceStream<OpusPiece> stream_; // last: uses everything above
};

} // namespace audiobookd::storage
