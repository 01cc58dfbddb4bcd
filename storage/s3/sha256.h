// SHA-256 and its keyed form, in lower-case hexadecimal where S3 wants it so. Any thread; a Sha256 belongs to one.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace audiobookd::storage::s3 {

class Sha256 {
public:
  /// @throws std::runtime_error when the library has no SHA-256.
  Sha256();
  void add(std::span<const std::byte> bytes);
  /// 64 hexadecimal digits, once.
  [[nodiscard]] std::string hex();

private:
  struct Free {
    void operator()(void* context) const noexcept;
  };
  std::unique_ptr<void, Free> context_;
};

[[nodiscard]] std::string sha256_hex(std::string_view text);
/// The 32 bytes of HMAC-SHA-256.
[[nodiscard]] std::string hmac_sha256(std::string_view key, std::string_view text);
[[nodiscard]] std::string hex(std::string_view bytes);

} // namespace audiobookd::storage::s3
