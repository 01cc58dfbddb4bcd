// ISO/IEC 11172-3 and 13818-3, clause 2.4.2.3: the fields of a frame's header.
#include "storage/mp3_format.h"

#include "storage/errors.h"

#include <algorithm>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr std::array<int, 14> mpeg1_kbps = {32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320};
constexpr std::array<int, 14> mpeg2_kbps = {8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160};
// sync, version, layer III, no CRC; bit rate, sample rate, no padding; mono, original
constexpr std::array<Mp3Format, 3> formats = {{{24'000, 576, 9, 0xFFF304C4, mpeg2_kbps},
                                               {44'100, 1152, 17, 0xFFFB00C4, mpeg1_kbps},
                                               {48'000, 1152, 17, 0xFFFB04C4, mpeg1_kbps}}};
constexpr int bitrate_shift = 12;

} // namespace

const Mp3Format& mp3_format(int sample_rate) {
  const auto found = std::ranges::find(formats, sample_rate, &Mp3Format::sample_rate);
  if (found == formats.end()) {
    throw PermanentError("mp3 sample_rate " + std::to_string(sample_rate) +
                         " is not supported; valid: 24000 44100 48000");
  }
  return *found;
}

std::uint32_t bitrate_index(const Mp3Format& format, int bitrate_kbps) noexcept {
  const auto found = std::ranges::find(format.bitrates_kbps, bitrate_kbps);
  return found == format.bitrates_kbps.end() ? 0 : static_cast<std::uint32_t>(found - format.bitrates_kbps.begin() + 1);
}

std::size_t frame_bytes(const Mp3Format& format, int bitrate_kbps) noexcept {
  return format.frame_samples / 8 * 1000 * static_cast<std::size_t>(bitrate_kbps) /
         static_cast<std::size_t>(format.sample_rate);
}

std::size_t frame_size(const Mp3Format& format, std::span<const unsigned char> stream) noexcept {
  if (stream.size() < 4) {
    return 0;
  }
  const std::uint32_t header =
      std::uint32_t{stream[0]} << 24 | std::uint32_t{stream[1]} << 16 | std::uint32_t{stream[2]} << 8 | stream[3];
  constexpr std::uint32_t fixed = 0xFFFE0C00; // sync, version, layer; sample rate
  const std::uint32_t index = header >> bitrate_shift & 0xF;
  if ((header & fixed) != (format.header & fixed) || index == 0 || index > format.bitrates_kbps.size()) {
    return 0;
  }
  return frame_bytes(format, format.bitrates_kbps[index - 1]) + (header >> 9 & 1);
}

} // namespace audiobookd::storage
