// A file mapped read-only into memory. Immutable after construction; any number of threads may read it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace audiobookd::engine {

class MappedFile {
public:
  /// Maps the whole of @p file. Whoever truncates the file while it is mapped ends the process with SIGBUS, so
  /// checkpoints are replaced by rename, never rewritten in place.
  /// @throws std::runtime_error naming the file when it cannot be opened or mapped or is not a regular file.
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

private:
  std::span<const std::byte> bytes_; // empty for an empty file, which has no mapping
};

} // namespace audiobookd::engine
