// Where encoded bytes go: appended one after the other, with a header rewritten once its numbers are known, or all of
// it. One thread at a time per sink.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace audiobookd::storage {

class ByteSink {
public:
  virtual ~ByteSink() = default;
  /// Adds @p bytes at the end. @throws TransientError, PermanentError as the medium does.
  virtual void append(std::span<const std::byte> bytes) = 0;
  /// Replaces bytes that were appended before: [@p offset, @p offset + bytes.size()) must lie inside size().
  /// @throws std::out_of_range when it does not; TransientError, PermanentError as the medium does.
  virtual void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// Forgets everything that was appended. @throws TransientError, PermanentError as the medium does.
  virtual void clear() = 0;
  /// Bytes appended so far.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
};

} // namespace audiobookd::storage
