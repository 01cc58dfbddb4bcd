// A file that is there completely or not at all. One thread at a time per file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace audiobookd::engine {

/// A file that appears under its name only when commit() succeeded; until then it is `<name>.part.<pid>` beside it.
/// Everything throws std::runtime_error naming the file on an I/O error.
class AtomicFile {
public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t size);
  /// Flushes to disk and renames. Once.
  void commit();

private:
  [[noreturn]] void fail(const char* what) const;

  const std::filesystem::path target_;
  const std::string part_;
  int fd_;
  bool committed_ = false;
};

} // namespace audiobookd::engine
