// Length and hash of an output while it is written, so that a successor can recognise it.
//
// One thread at a time per sink.
#pragma once

#include "engine/hash128.h"
#include "storage/byte_sink.h"
#include "storage/storage.h"

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::daemon {

/// Passes everything on to another sink. The beginning, where headers are rewritten, is kept until the end; the rest is
/// hashed block by block, so that memory does not grow with the output.
class FingerprintSink final : public storage::ByteSink {
public:
  explicit FingerprintSink(storage::ByteSink& target) : target_(target) {}

  void append(std::span<const std::byte> bytes) override;
  /// @throws std::logic_error beyond the first 8 MiB.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void clear() override;
  [[nodiscard]] std::uint64_t size() const noexcept override { return target_.size(); }

  /// Of what was written so far: "BYTES:HASH".
  [[nodiscard]] std::string fingerprint() const;

private:
  storage::ByteSink& target_;
  std::vector<std::byte> head_;
  std::vector<std::byte> block_;
  engine::Hash128 chain_;
};

/// The fingerprint that a FingerprintSink gives for output @p name as it is now: what was noted with it, else that of
/// its content, which is read piece by piece.
/// @throws as Storage::read_output().
[[nodiscard]] std::string fingerprint_of(const storage::Storage& storage, std::string_view name,
                                         const std::stop_token& stop = {});

} // namespace audiobookd::daemon
