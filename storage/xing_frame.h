// The "Info" header frame (Xing/LAME) of a CBR stream, for bit rates at which LAME itself leaves it out because its
// first frame would be too short. Stateless; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// Running CRC-16 (polynomial 0x8005, reflected) as LAME uses for its music and tag checksums; starts at 0.
[[nodiscard]] std::uint16_t crc16(std::uint16_t crc, std::span<const std::byte> bytes) noexcept;

/// What the header says about the stream that follows it.
struct XingInfo {
  std::uint32_t num_frames = 0;  ///< audio frames, this one not counted
  std::uint32_t audio_bytes = 0; ///< their bytes
  std::uint16_t audio_crc = 0;   ///< crc16() over them
  int bitrate_kbps = 0;
  int lowpass_hz = 0;
  int encoder_delay = 0;   ///< samples before the first one, 12 bits
  int encoder_padding = 0; ///< samples after the last one, 12 bits
};

/// A whole frame of 192 bytes (MPEG-2 layer III, 24 kHz, mono, 64 kbit/s) with frame count, byte count, a linear table
/// of contents and the LAME extension; laid out as in "Mp3 Info Tag revision 1".
[[nodiscard]] std::vector<std::byte> render_xing_frame(const XingInfo& info);

} // namespace audiobookd::storage
