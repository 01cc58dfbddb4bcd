// SHA-256 (FIPS 180-4), for comparing generated tensors with the recorded digests. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace audiobookd::tests {

/// 64 lower-case hex digits.
[[nodiscard]] std::string sha256_hex(std::span<const std::byte> data);

} // namespace audiobookd::tests
