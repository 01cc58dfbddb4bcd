// The hash of an output is that of its head and of the chained hashes of its further blocks.
#include "daemon/fingerprint_sink.h"

#include <algorithm>
#include <stdexcept>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t head_bytes = 8u << 20; // tags with a cover and the first MP3 frame lie within
constexpr std::size_t block_bytes = 1u << 20;

engine::Hash128 chained(const engine::Hash128& chain, std::span<const std::byte> block) {
  return engine::HashBuilder().add(chain).add(engine::hash128(block)).finish();
}

/// Where fingerprint_of() leaves the bytes.
class NullSink final : public storage::ByteSink {
public:
  void append(std::span<const std::byte> bytes) override { size_ += bytes.size(); }
  void overwrite(std::uint64_t, std::span<const std::byte>) override {}
  void clear() override { size_ = 0; }
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }

private:
  std::uint64_t size_ = 0;
};

} // namespace

void FingerprintSink::append(std::span<const std::byte> bytes) {
  target_.append(bytes);
  const std::size_t to_head = std::min(bytes.size(), head_bytes - head_.size());
  head_.insert(head_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(to_head));
  bytes = bytes.subspan(to_head);
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), block_bytes - block_.size());
    block_.insert(block_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
    bytes = bytes.subspan(part);
    if (block_.size() == block_bytes) {
      chain_ = chained(chain_, block_);
      block_.clear();
    }
  }
}

void FingerprintSink::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (offset + bytes.size() > head_.size()) {
    throw std::logic_error("bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes.size()) +
                           " of an output are rewritten, but only the first " + std::to_string(head_.size()) +
                           " may be");
  }
  target_.overwrite(offset, bytes);
  std::ranges::copy(bytes, head_.begin() + static_cast<std::ptrdiff_t>(offset));
}

void FingerprintSink::clear() {
  target_.clear();
  head_.clear();
  block_.clear();
  chain_ = {};
}

std::string FingerprintSink::fingerprint() const {
  const engine::Hash128 hash = engine::HashBuilder().add(engine::hash128(head_)).add(chained(chain_, block_)).finish();
  return std::to_string(target_.size()) + ":" + hash.hex();
}

std::string fingerprint_of(const storage::Storage& storage, std::string_view name, const std::stop_token& stop) {
  if (auto noted = storage.output_fingerprint(name, stop)) {
    return std::move(*noted);
  }
  NullSink nowhere;
  FingerprintSink sink(nowhere);
  storage.read_output(
      name, [&sink](std::span<const std::byte> piece) { sink.append(piece); }, stop);
  return sink.fingerprint();
}

} // namespace audiobookd::daemon
