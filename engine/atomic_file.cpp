// Writing beside the target and renaming at the end.
#include "engine/atomic_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace audiobookd::engine {

AtomicFile::AtomicFile(std::filesystem::path target)
    : target_(std::move(target)), part_(target_.string() + ".part." + std::to_string(::getpid())),
      fd_(::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (fd_ < 0) {
    fail("cannot create");
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
  if (!committed_) {
    ::unlink(part_.c_str());
  }
}

void AtomicFile::write(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd_, bytes, size);
    if (written < 0 && errno != EINTR) {
      fail("cannot write");
    }
    if (written > 0) {
      bytes += written;
      size -= static_cast<std::size_t>(written);
    }
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) {
    fail("cannot flush to disk");
  }
  if (::close(std::exchange(fd_, -1)) != 0) {
    fail("cannot close");
  }
  if (::rename(part_.c_str(), target_.c_str()) != 0) {
    fail("cannot rename into place");
  }
  committed_ = true;
}

void AtomicFile::fail(const char* what) const {
  throw std::runtime_error(target_.string() + ": " + what + ": " + std::strerror(errno));
}

} // namespace audiobookd::engine
