// Memory-mapping through POSIX. See the header for threading.
#include "engine/mapped_file.h"

#include <cerrno>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace audiobookd::engine {
namespace {

struct FileDescriptor {
  explicit FileDescriptor(int fd) noexcept : value(fd) {}
  ~FileDescriptor() {
    if (value >= 0) {
      ::close(value);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  const int value;
};

[[noreturn]] void fail_with_errno(const std::filesystem::path& file, const std::string& what) {
  const int error = errno;
  throw std::system_error(error, std::generic_category(), file.string() + ": " + what);
}

} // namespace

MappedFile::MappedFile(const std::filesystem::path& file) {
  const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (fd.value < 0 || ::fstat(fd.value, &status) != 0) {
    fail_with_errno(file, "cannot open");
  }
  if (!S_ISREG(status.st_mode)) {
    throw std::runtime_error(file.string() + ": is not a regular file");
  }
  if (status.st_size == 0) {
    return;
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.value, 0);
  if (address == MAP_FAILED) {
    fail_with_errno(file, "cannot map " + std::to_string(size) + " bytes");
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

} // namespace audiobookd::engine
