// Field by field, big-endian.
#include "storage/xing_frame.h"

#include <algorithm>
#include <string_view>

namespace audiobookd::storage {
namespace {

constexpr std::size_t frame_bytes = 192; // 72 × 64000 / 24000
constexpr std::size_t side_info_bytes = 9;

class FrameWriter {
public:
  void put(std::uint64_t value, int num_bytes) {
    for (int shift = 8 * (num_bytes - 1); shift >= 0; shift -= 8) {
      bytes_.push_back(static_cast<std::byte>(value >> shift));
    }
  }
  void put(std::string_view text) {
    for (const char c : text) {
      bytes_.push_back(static_cast<std::byte>(c));
    }
  }
  std::vector<std::byte>& bytes() { return bytes_; }

private:
  std::vector<std::byte> bytes_;
};

} // namespace

std::uint16_t crc16(std::uint16_t crc, std::span<const std::byte> bytes) noexcept {
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint16_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = static_cast<std::uint16_t>((crc >> 1) ^ ((crc & 1) != 0 ? 0xA001 : 0));
    }
  }
  return crc;
}

std::vector<std::byte> render_xing_frame(const XingInfo& info) {
  FrameWriter frame;
  frame.put(0xFFF384C4, 4); // sync, MPEG-2, layer III, no CRC; 64 kbit/s, 24 kHz; mono, original
  frame.put(0, side_info_bytes - 8);
  frame.put(0, 8);
  frame.put("Info");
  frame.put(0x0F, 4); // frames, bytes, table of contents and quality follow
  frame.put(info.num_frames, 4);
  frame.put(info.audio_bytes + frame_bytes, 4);
  for (int percent = 0; percent < 100; ++percent) {
    frame.put(static_cast<unsigned>(percent * 256 / 100), 1);
  }
  frame.put(50, 4);
  frame.put("LAME3.100");
  frame.put(0x01, 1); // tag revision 0, CBR
  frame.put(static_cast<unsigned>(std::min(info.lowpass_hz / 100, 255)), 1);
  frame.put(0, 8); // peak and replay gains: not measured
  frame.put(0, 1); // encoding flags
  frame.put(static_cast<unsigned>(info.bitrate_kbps), 1);
  frame.put(static_cast<unsigned>(info.encoder_delay << 12 | info.encoder_padding), 3);
  frame.put(0, 4); // source rate and mode, gain, preset
  frame.put(info.audio_bytes + frame_bytes, 4);
  frame.put(info.audio_crc, 2);
  frame.put(crc16(0, frame.bytes()), 2);
  frame.bytes().resize(frame_bytes);
  return frame.bytes();
}

} // namespace audiobookd::storage
