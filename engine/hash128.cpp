// MurmurHash3 x64 128. Pure functions; any thread.
#include "engine/hash128.h"

#include <bit>
#include <cstring>

namespace audiobookd::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "hashes are read as little-endian words");

constexpr std::uint64_t c1 = 0x87c37b91114253d5;
constexpr std::uint64_t c2 = 0x4cf5ad432745937f;

std::uint64_t mix_low(std::uint64_t k) noexcept { return std::rotl(k * c1, 31) * c2; }
std::uint64_t mix_high(std::uint64_t k) noexcept { return std::rotl(k * c2, 33) * c1; }

/// Forces every bit of the input to affect every bit of the output.
std::uint64_t avalanche(std::uint64_t k) noexcept {
  k = (k ^ (k >> 33)) * 0xff51afd7ed558ccd;
  k = (k ^ (k >> 33)) * 0xc4ceb9fe1a85ec53;
  return k ^ (k >> 33);
}

/// One 16-byte block, zero-filled after @p size bytes.
struct Block {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  Block(const std::byte* bytes, std::size_t size) noexcept {
    std::memcpy(&low, bytes, size < 8 ? size : 8);
    if (size > 8) {
      std::memcpy(&high, bytes + 8, size - 8);
    }
  }
};

void append(std::string& bytes, const void* data, std::size_t size) {
  const std::uint64_t length = size;
  bytes.append(reinterpret_cast<const char*>(&length), sizeof length);
  bytes.append(static_cast<const char*>(data), size);
}

} // namespace

std::string Hash128::hex() const {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text(32, '0');
  for (int i = 0; i < 16; ++i) {
    text[15 - i] = digits[(high >> (4 * i)) & 15];
    text[31 - i] = digits[(low >> (4 * i)) & 15];
  }
  return text;
}

Hash128 hash128(std::span<const std::byte> data, std::uint64_t seed) noexcept {
  std::uint64_t h1 = seed;
  std::uint64_t h2 = seed;
  std::size_t offset = 0;
  for (; offset + 16 <= data.size(); offset += 16) {
    const Block block(data.data() + offset, 16);
    h1 = (std::rotl(h1 ^ mix_low(block.low), 27) + h2) * 5 + 0x52dce729;
    h2 = (std::rotl(h2 ^ mix_high(block.high), 31) + h1) * 5 + 0x38495ab5;
  }
  if (offset < data.size()) {
    const Block tail(data.data() + offset, data.size() - offset);
    h1 ^= mix_low(tail.low);
    h2 ^= mix_high(tail.high);
  }
  h1 ^= data.size();
  h2 ^= data.size();
  h1 += h2;
  h2 += h1;
  h1 = avalanche(h1);
  h2 = avalanche(h2);
  h1 += h2;
  h2 += h1;
  return {.low = h1, .high = h2};
}

HashBuilder& HashBuilder::add(std::string_view text) {
  append(bytes_, text.data(), text.size());
  return *this;
}

HashBuilder& HashBuilder::add(std::uint64_t value) {
  append(bytes_, &value, sizeof value);
  return *this;
}

HashBuilder& HashBuilder::add(double value) {
  append(bytes_, &value, sizeof value);
  return *this;
}

HashBuilder& HashBuilder::add(const Hash128& value) {
  const std::uint64_t words[] = {value.low, value.high};
  append(bytes_, words, sizeof words);
  return *this;
}

Hash128 HashBuilder::finish() const noexcept { return hash128(std::as_bytes(std::span(bytes_))); }

} // namespace audiobookd::engine
