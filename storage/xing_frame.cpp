// Field by field, big-endian.
#include "storage/xing_frame.h"

#include "storage/mp3_format.h"

#include <algorithm>
#include <string_view>

namespace audiobookd::storage {
namespace {

constexpr int least_bitrate_kbps = 64; // whose frame has room for everything
constexpr std::size_t most_positions = 4096;

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

/// Of LAME's header: how hard it tried, 0 … 100. Without VBR it counts as VBR quality 4.
std::uint64_t quality_indicator(const XingInfo& info) {
  return static_cast<std::uint64_t>(100 - 10 * info.vbr_quality.value_or(4) - info.quality);
}

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

void SeekTable::add_frame(std::size_t bytes) {
  if (num_frames_ % stride_ == 0) {
    if (positions_.size() == most_positions) { // every other one will do
      for (std::size_t i = 0; i < most_positions / 2; ++i) {
        positions_[i] = positions_[2 * i];
      }
      positions_.resize(most_positions / 2);
      stride_ *= 2;
    }
    positions_.push_back(num_bytes_);
  }
  ++num_frames_;
  num_bytes_ += bytes;
}

std::array<std::uint8_t, 100> SeekTable::table_of_contents(std::size_t header_bytes) const {
  std::array<std::uint8_t, 100> table{};
  const std::uint64_t file_bytes = header_bytes + num_bytes_;
  for (std::size_t percent = 0; percent < table.size() && num_frames_ > 0; ++percent) {
    const std::uint64_t frame = num_frames_ * percent / 100;
    const std::uint64_t position = header_bytes + positions_[frame / stride_];
    table[percent] = static_cast<std::uint8_t>(256 * position / file_bytes);
  }
  return table;
}

std::vector<std::byte> render_xing_frame(const XingInfo& info, const SeekTable& seek_table) {
  const Mp3Format& format = mp3_format(info.sample_rate);
  const int frame_kbps = std::max(info.bitrate_kbps, least_bitrate_kbps);
  const std::size_t num_bytes = frame_bytes(format, frame_kbps);
  const bool is_vbr = info.vbr_quality.has_value();
  FrameWriter frame;
  frame.put(format.header | bitrate_index(format, frame_kbps) << 12, 4);
  for (std::size_t i = 0; i < format.side_info_bytes; ++i) {
    frame.put(0, 1);
  }
  frame.put(is_vbr ? "Xing" : "Info");
  frame.put(0x0F, 4); // frames, bytes, table of contents and quality follow
  frame.put(info.num_frames, 4);
  frame.put(info.audio_bytes + num_bytes, 4);
  for (const std::uint8_t part : seek_table.table_of_contents(num_bytes)) {
    frame.put(part, 1);
  }
  frame.put(quality_indicator(info), 4);
  frame.put("LAME3.100");
  frame.put(is_vbr ? 0x04 : 0x01, 1); // tag revision 0; method: VBR "mtrh", or CBR
  frame.put(static_cast<unsigned>(std::min((info.lowpass_hz + 50) / 100, 255)), 1);
  frame.put(0, 8); // peak and replay gains: not measured
  frame.put(0, 1); // encoding flags
  frame.put(static_cast<unsigned>(std::min(info.bitrate_kbps, 255)), 1);
  frame.put(static_cast<unsigned>(info.encoder_delay << 12 | info.encoder_padding), 3);
  frame.put(0, 4); // source rate and mode, gain, preset
  frame.put(info.audio_bytes + num_bytes, 4);
  frame.put(info.audio_crc, 2);
  frame.put(crc16(0, frame.bytes()), 2);
  frame.bytes().resize(num_bytes);
  return frame.bytes();
}

} // namespace audiobookd::storage
