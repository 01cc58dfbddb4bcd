// An owned POSIX file descriptor and whole-buffer I/O on it. Not synchronised: one owner at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace audiobookd::storage {

/// Closes its descriptor when destroyed. Movable; -1 means none.
class FileDescriptor {
public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

private:
  int fd_ = -1;
};

/// Writes all of @p bytes at the current position. @p path is for the message. @throws TransientError, PermanentError.
void write_all(int fd, std::span<const std::byte> bytes, std::string_view path);
/// Writes all of @p bytes at @p offset. @throws as write_all().
void write_all_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes, std::string_view path);
/// Reads from the current position until @p bytes is full or the file ends; returns the bytes read.
/// @throws TransientError, PermanentError.
std::size_t read_up_to(int fd, std::span<std::byte> bytes, std::string_view path);
/// fsync. @throws TransientError, PermanentError.
void sync_file(int fd, std::string_view path);

/// A random name part: 16 lower-case hex digits. Any thread.
[[nodiscard]] std::string random_token();

} // namespace audiobookd::storage
