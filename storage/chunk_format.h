// The bytes of one entry of the chunk store. Stateless; any thread.
//
//   offset  0  8 bytes  magic "ABKCHUNK"
//           8  u32      version, 1
//          12  u32      kind: 1 audio (float32 samples), 2 tokens (int32)
//          16  32 bytes key, lower-case hex: a file under a wrong name is not taken for another utterance
//          48  u32      sample rate in Hz (0 for tokens)
//          52  u32      bytes of metadata
//          56  u64      number of samples or tokens
//          64  u32      CRC-32 of metadata and values
//          68  u32      CRC-32 of bytes 0 … 67
//          72           metadata (JSON), then the values; the file ends there
// All numbers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace audiobookd::storage {

enum class ChunkKind : std::uint32_t { audio = 1, tokens = 2 };

inline constexpr std::size_t chunk_header_bytes = 72;

struct ChunkHeader {
  ChunkKind kind = ChunkKind::audio;
  std::string key;
  std::uint32_t sample_rate = 0;
  std::uint32_t metadata_bytes = 0;
  std::uint64_t num_values = 0;
  std::uint32_t body_crc = 0;

  /// Length of the whole entry.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept {
    return chunk_header_bytes + metadata_bytes + 4 * num_values;
  }
};

/// A whole entry; @p values are the raw bytes of float32 or int32 values.
[[nodiscard]] std::string encode_chunk(ChunkKind kind, std::string_view key, int sample_rate, std::string_view metadata,
                                       std::span<const std::byte> values);
/// The header at the start of @p bytes, or nothing when magic, version, kind, key or checksum are wrong.
[[nodiscard]] std::optional<ChunkHeader> decode_chunk_header(std::string_view bytes, ChunkKind kind,
                                                             std::string_view key);
/// Whether @p bytes is exactly the entry that @p header describes: length and checksum of the body.
[[nodiscard]] bool body_is_intact(const ChunkHeader& header, std::string_view bytes) noexcept;

} // namespace audiobookd::storage
