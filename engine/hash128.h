// 128-bit content hashes: names of chunks, voices and weights, and keys of random numbers. Not cryptographic.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace audiobookd::engine {

struct Hash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  auto operator<=>(const Hash128&) const = default;
  /// 32 lower-case hex digits, high half first.
  [[nodiscard]] std::string hex() const;
};

/// MurmurHash3 x64 128 (Austin Appleby, public domain algorithm) of @p data.
[[nodiscard]] Hash128 hash128(std::span<const std::byte> data, std::uint64_t seed = 0) noexcept;

/// Collects fields, each with its length, so that ("ab", "c") and ("a", "bc") differ.
class HashBuilder {
public:
  HashBuilder& add(std::string_view text);
  HashBuilder& add(std::uint64_t value);
  HashBuilder& add(double value);
  HashBuilder& add(const Hash128& value);
  [[nodiscard]] Hash128 finish() const noexcept;

private:
  std::string bytes_;
};

} // namespace audiobookd::engine
