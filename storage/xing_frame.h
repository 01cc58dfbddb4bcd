// The Xing/LAME header frame ("Info" in CBR, "Xing" in VBR), of a stream that was put together from several encoders'
// frames. Plain values; one thread at a time per object.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// Running CRC-16 (polynomial 0x8005, reflected) as LAME uses for its music and tag checksums; starts at 0.
[[nodiscard]] std::uint16_t crc16(std::uint16_t crc, std::span<const std::byte> bytes) noexcept;

/// What the header says about the stream that follows it.
struct XingInfo {
  int sample_rate = 24'000;            ///< Hz
  std::uint32_t num_frames = 0;        ///< audio frames, this one not counted
  std::uint32_t audio_bytes = 0;       ///< their bytes
  std::uint16_t audio_crc = 0;         ///< crc16() over them
  int bitrate_kbps = 0;                ///< of a CBR stream
  std::optional<int> vbr_quality = {}; ///< of a VBR stream, LAME's 0 … 9
  int quality = 5;                     ///< LAME's effort, 0 … 9
  int lowpass_hz = 0;
  int encoder_delay = 0;   ///< samples before the first one, 12 bits
  int encoder_padding = 0; ///< samples after the last one, 12 bits
};

/// Where in a stream its frames lie, in memory that does not grow with it.
class SeekTable {
public:
  void add_frame(std::size_t bytes);
  /// For each of 100 equal parts of the playing time the 256th part of the file in which it begins.
  /// @param header_bytes before the first frame.
  [[nodiscard]] std::array<std::uint8_t, 100> table_of_contents(std::size_t header_bytes) const;

private:
  std::uint64_t num_frames_ = 0;
  std::uint64_t num_bytes_ = 0;
  std::uint64_t stride_ = 1;             // frames between two positions that are kept
  std::vector<std::uint64_t> positions_; // of frames 0, stride_, 2 stride_, …: bytes before them
};

/// A whole frame (mono; at the bit rate of a CBR stream, but at least 64 kbit/s) with frame count, byte count, table of
/// contents and the LAME extension; laid out as in "Mp3 Info Tag revision 1". Its size depends on the sample rate and
/// the bit rate alone. @throws PermanentError as mp3_format().
[[nodiscard]] std::vector<std::byte> render_xing_frame(const XingInfo& info, const SeekTable& seek_table);

} // namespace audiobookd::storage
