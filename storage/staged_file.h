// The bytes of an output on their way: an open file that is written through a buffer, with headers rewritten at the
// end. One thread at a time.
#pragma once

#include "storage/byte_sink.h"
#include "storage/file_descriptor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace audiobookd::storage {

class StagedFile final : public ByteSink {
public:
  StagedFile() = default; ///< none
  /// @param file empty, open for reading and writing. @param shown how messages call what it becomes.
  StagedFile(FileDescriptor file, std::string shown);

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(file_); }
  /// Of what was flushed.
  [[nodiscard]] int get() const noexcept { return file_.get(); }
  [[nodiscard]] const FileDescriptor& file() const noexcept { return file_; }
  void append(std::span<const std::byte> bytes) override;
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override;
  void clear() override { truncate(0); }
  /// Forgets everything behind the first @p bytes, of which there must be so many. @throws as clear().
  void truncate(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t size() const noexcept override { return flushed_ + buffer_.size(); }
  /// Hands everything to the kernel. @throws TransientError, PermanentError.
  void flush();

private:
  FileDescriptor file_;
  std::string shown_;
  std::vector<std::byte> buffer_;
  std::uint64_t flushed_ = 0;
  std::uint64_t written_back_ = 0; // of these: whose way to the disk has begun
};

} // namespace audiobookd::storage
