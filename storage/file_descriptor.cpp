// Whole-buffer I/O that survives signals and short transfers.
#include "storage/file_descriptor.h"

#include "storage/errors.h"

#include <cerrno>
#include <sys/random.h>
#include <unistd.h>

namespace audiobookd::storage {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void write_all(int fd, std::span<const std::byte> bytes, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      throw_errno(errno, "cannot write", path);
    }
    bytes = bytes.subspan(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
}

void write_all_at(int fd, std::uint64_t offset, std::span<const std::byte> bytes, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno != EINTR) {
      throw_errno(errno, "cannot write", path);
    }
    const std::size_t done = written < 0 ? 0 : static_cast<std::size_t>(written);
    bytes = bytes.subspan(done);
    offset += done;
  }
}

std::size_t read_up_to(int fd, std::span<std::byte> bytes, std::string_view path) {
  std::size_t total = 0;
  while (total < bytes.size()) {
    const ssize_t got = ::read(fd, bytes.data() + total, bytes.size() - total);
    if (got < 0 && errno != EINTR) {
      throw_errno(errno, "cannot read", path);
    }
    if (got == 0) {
      break;
    }
    total += got < 0 ? 0 : static_cast<std::size_t>(got);
  }
  return total;
}

void sync_file(int fd, std::string_view path) {
  if (::fsync(fd) != 0) {
    throw_errno(errno, "cannot sync", path);
  }
}

std::string random_token() {
  unsigned char bytes[8];
  if (::getentropy(bytes, sizeof bytes) != 0) {
    throw_errno(errno, "cannot read random bytes from", "getentropy");
  }
  std::string token;
  for (const unsigned char byte : bytes) {
    token += "0123456789abcdef"[byte >> 4];
    token += "0123456789abcdef"[byte & 15];
  }
  return token;
}

} // namespace audiobookd::storage
