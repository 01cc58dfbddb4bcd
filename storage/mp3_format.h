// Frames of MPEG-1 and MPEG-2 layer III in mono, at the sample rates of audiobooks. Constant tables: any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace audiobookd::storage {

struct Mp3Format {
  int sample_rate;                   ///< Hz
  std::size_t frame_samples;         ///< that a frame stands for
  std::size_t side_info_bytes;       ///< between a frame's header and its data
  std::uint32_t header;              ///< of a frame without CRC and padding, mono, original; its bit rate left out
  std::array<int, 14> bitrates_kbps; ///< by the header's index, from 1
};

/// @throws PermanentError naming the rates that are supported: 24000, 44100, 48000.
[[nodiscard]] const Mp3Format& mp3_format(int sample_rate);

/// The index of @p bitrate_kbps in a frame's header; 0 when there is no such bit rate.
[[nodiscard]] std::uint32_t bitrate_index(const Mp3Format& format, int bitrate_kbps) noexcept;

/// Bytes of a frame without padding.
[[nodiscard]] std::size_t frame_bytes(const Mp3Format& format, int bitrate_kbps) noexcept;

/// Bytes of the frame that begins with @p stream; 0 when no frame of @p format does.
[[nodiscard]] std::size_t frame_size(const Mp3Format& format, std::span<const unsigned char> stream) noexcept;

} // namespace audiobookd::storage
