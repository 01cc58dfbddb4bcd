// Encoding and checking entries. Every byte of an entry is under one of the two checksums.
#include "storage/chunk_format.h"

#include <bit>
#include <cstring>
#include <stdexcept>
#include <zlib.h>

namespace audiobookd::storage {
namespace {

static_assert(std::endian::native == std::endian::little, "entries are stored in the byte order of the machine");

constexpr char magic[8] = {'A', 'B', 'K', 'C', 'H', 'U', 'N', 'K'};
constexpr std::uint32_t version = 1;
constexpr std::size_t key_bytes = 32;

/// The header as it lies in the file: no member needs padding.
struct RawHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t kind;
  char key[key_bytes];
  std::uint32_t sample_rate;
  std::uint32_t metadata_bytes;
  std::uint64_t num_values;
  std::uint32_t body_crc;
  std::uint32_t header_crc;
};
static_assert(sizeof(RawHeader) == chunk_header_bytes);

std::uint32_t crc_of(const void* data, std::size_t size) {
  return static_cast<std::uint32_t>(::crc32_z(0, static_cast<const Bytef*>(data), size));
}

} // namespace

std::string encode_chunk(ChunkKind kind, std::string_view key, int sample_rate, std::string_view metadata,
                         std::span<const std::byte> values) {
  if (key.size() != key_bytes || metadata.size() > UINT32_MAX) {
    throw std::invalid_argument("chunk '" + std::string(key) +
                                "' needs a key of 32 digits and less than 4 GiB metadata");
  }
  std::string bytes(chunk_header_bytes, '\0');
  bytes.reserve(chunk_header_bytes + metadata.size() + values.size());
  bytes.append(metadata);
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size());

  RawHeader raw{};
  std::memcpy(raw.magic, magic, sizeof magic);
  raw.version = version;
  raw.kind = static_cast<std::uint32_t>(kind);
  std::memcpy(raw.key, key.data(), key_bytes);
  raw.sample_rate = static_cast<std::uint32_t>(sample_rate);
  raw.metadata_bytes = static_cast<std::uint32_t>(metadata.size());
  raw.num_values = values.size() / 4;
  raw.body_crc = crc_of(bytes.data() + chunk_header_bytes, bytes.size() - chunk_header_bytes);
  raw.header_crc = crc_of(&raw, offsetof(RawHeader, header_crc));
  std::memcpy(bytes.data(), &raw, sizeof raw);
  return bytes;
}

std::optional<ChunkHeader> decode_chunk_header(std::string_view bytes, ChunkKind kind, std::string_view key) {
  RawHeader raw{};
  if (bytes.size() < sizeof raw) {
    return std::nullopt;
  }
  std::memcpy(&raw, bytes.data(), sizeof raw);
  const bool intact = std::memcmp(raw.magic, magic, sizeof magic) == 0 && raw.version == version &&
                      raw.kind == static_cast<std::uint32_t>(kind) && key == std::string_view(raw.key, key_bytes) &&
                      raw.header_crc == crc_of(&raw, offsetof(RawHeader, header_crc));
  if (!intact) {
    return std::nullopt;
  }
  return ChunkHeader{kind, std::string(key), raw.sample_rate, raw.metadata_bytes, raw.num_values, raw.body_crc};
}

bool body_is_intact(const ChunkHeader& header, std::string_view bytes) noexcept {
  return bytes.size() == header.file_bytes() &&
         crc_of(bytes.data() + chunk_header_bytes, bytes.size() - chunk_header_bytes) == header.body_crc;
}

} // namespace audiobookd::storage
