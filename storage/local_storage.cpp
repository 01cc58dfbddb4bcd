// Names below a root, resolved by the kernel.
#include "storage/local_storage.h"

#include "storage/publisher.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;

std::string shown(const fs::path& root, std::string_view name) { return (root / name).string(); }

[[noreturn]] void refuse(std::string_view name, std::string_view why) {
  throw PermanentError("path '" + std::string(name) + "' " + std::string(why));
}

/// Refuses what no name may be, before any file system is asked. Returns the components.
std::vector<std::string> checked_components(std::string_view name) {
  if (name.empty()) {
    refuse(name, "is empty");
  }
  if (name.find('\0') != std::string_view::npos) {
    refuse(name.substr(0, name.find('\0')), "contains a NUL byte");
  }
  if (name.front() == '/') {
    refuse(name, "is absolute; give it relative to the configured root");
  }
  std::vector<std::string> components;
  for (const fs::path& part : fs::path(name)) {
    if (part == "..") {
      refuse(name, "contains '..'");
    }
    if (!part.empty() && part != ".") {
      components.push_back(part.string());
    }
  }
  if (components.empty() || name.back() == '/') {
    refuse(name, "names a folder, not a file");
  }
  return components;
}

FileDescriptor open_root(const fs::path& root) {
  FileDescriptor fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    throw_errno(errno, "cannot open root folder", root.string());
  }
  return fd;
}

/// openat2 beneath @p root. Returns no descriptor and leaves errno when it fails.
FileDescriptor open_beneath(const FileDescriptor& root, const std::string& name, std::uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  // EAGAIN: something was renamed while a `..` inside a link was resolved, and the kernel could not rule out an escape.
  for (int attempt = 0; attempt < 16 && fd < 0 && (attempt == 0 || errno == EAGAIN || errno == EINTR); ++attempt) {
    fd = ::syscall(SYS_openat2, root.get(), name.c_str(), &how, sizeof how);
  }
  return FileDescriptor(static_cast<int>(fd));
}

[[noreturn]] void throw_open_error(int error_number, const fs::path& root, std::string_view name) {
  if (error_number == EXDEV) {
    refuse(shown(root, name), "leads out of the root '" + root.string() + "' through a symbolic link");
  }
  if (error_number == ENOSYS) {
    throw PermanentError("openat2 is missing: local storage needs Linux 5.6 or newer");
  }
  throw_errno(error_number, "cannot open", shown(root, name));
}

/// The folder of the last component, created where it is missing.
FileDescriptor open_parent(const fs::path& root, const FileDescriptor& root_fd,
                           const std::vector<std::string>& components) {
  FileDescriptor parent = open_beneath(root_fd, ".", O_RDONLY | O_DIRECTORY);
  std::string prefix;
  for (std::size_t i = 0; i + 1 < components.size(); ++i) {
    prefix += (i == 0 ? "" : "/") + components[i];
    FileDescriptor next = open_beneath(root_fd, prefix, O_RDONLY | O_DIRECTORY);
    if (!next && errno == ENOENT) {
      if (::mkdirat(parent.get(), components[i].c_str(), 0777) != 0 && errno != EEXIST) {
        throw_errno(errno, "cannot create folder", shown(root, prefix));
      }
      sync_file(parent.get(), shown(root, prefix));
      next = open_beneath(root_fd, prefix, O_RDONLY | O_DIRECTORY);
    }
    if (!next) {
      throw_open_error(errno, root, prefix);
    }
    parent = std::move(next);
  }
  if (!parent) {
    throw_open_error(errno, root, ".");
  }
  return parent;
}

} // namespace

LocalStorage::LocalStorage(Roots roots) : roots_(std::move(roots)) {
  open_root(roots_.input);
  open_root(roots_.output);
}

std::string LocalStorage::read_input(std::string_view name, std::uint64_t max_bytes) const {
  checked_components(name);
  const FileDescriptor root = open_root(roots_.input);
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const FileDescriptor file = open_beneath(root, std::string(name), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) {
    throw_open_error(errno, roots_.input, name);
  }
  const std::string path = shown(roots_.input, name);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    throw_errno(errno, "cannot stat", path);
  }
  if (!S_ISREG(status.st_mode)) {
    refuse(path, S_ISDIR(status.st_mode) ? "is a folder, not a file" : "is not a regular file");
  }
  const auto too_large = [&](std::uint64_t bytes) {
    refuse(path,
           "is too large: " + std::to_string(bytes) + " bytes, at most " + std::to_string(max_bytes) + " are allowed");
  };
  const auto expected = static_cast<std::uint64_t>(status.st_size);
  if (expected > max_bytes) {
    too_large(expected);
  }
  std::string content(expected + 1, '\0'); // one more byte shows whether the file has grown meanwhile
  content.resize(read_up_to(file.get(), std::as_writable_bytes(std::span(content)), path));
  if (content.size() > expected) {
    throw TransientError("'" + path + "' was still growing while it was read");
  }
  return content;
}

bool LocalStorage::output_exists(std::string_view name) const {
  checked_components(name);
  const FileDescriptor root = open_root(roots_.output);
  const FileDescriptor file = open_beneath(root, std::string(name), O_PATH | O_NOFOLLOW);
  if (!file && errno != ENOENT) {
    throw_open_error(errno, roots_.output, name);
  }
  return static_cast<bool>(file);
}

std::unique_ptr<Publication> LocalStorage::open_output(std::string_view name) const {
  const std::vector<std::string> components = checked_components(name);
  const FileDescriptor root = open_root(roots_.output);
  FileDescriptor parent = open_parent(roots_.output, root, components);
  fs::path shown_folder = roots_.output;
  for (std::size_t i = 0; i + 1 < components.size(); ++i) {
    shown_folder /= components[i];
  }
  return std::make_unique<FilePublication>(std::move(parent), components.back(), shown_folder.string());
}

} // namespace audiobookd::storage
