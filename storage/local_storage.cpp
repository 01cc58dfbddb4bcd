// Names below a root, resolved by the kernel.
#include "storage/local_storage.h"

#include "storage/folder_publisher.h"
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

constexpr std::size_t piece_bytes = 256 * 1024;

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

/// Where an output is to be.
struct OutputPlace {
  FileDescriptor parent;
  std::string shown_parent; ///< for messages
  std::string name;
};

OutputPlace open_place(const fs::path& root, std::string_view name) {
  const std::vector<std::string> components = checked_components(name);
  OutputPlace place{open_parent(root, open_root(root), components), "", components.back()};
  fs::path shown_parent = root;
  for (std::size_t i = 0; i + 1 < components.size(); ++i) {
    shown_parent /= components[i];
  }
  place.shown_parent = shown_parent.string();
  return place;
}

struct OpenFile {
  FileDescriptor fd;
  std::string path; ///< for messages
  std::uint64_t bytes = 0;
};

/// Opens the regular file @p name below @p root_path for reading.
OpenFile open_regular(const fs::path& root_path, std::string_view name, std::uint64_t more_flags) {
  checked_components(name);
  const FileDescriptor root = open_root(root_path);
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  OpenFile file{open_beneath(root, std::string(name), O_RDONLY | O_NONBLOCK | O_NOCTTY | more_flags),
                shown(root_path, name)};
  if (!file.fd) {
    throw_open_error(errno, root_path, name);
  }
  struct stat status {};
  if (::fstat(file.fd.get(), &status) != 0) {
    throw_errno(errno, "cannot stat", file.path);
  }
  if (!S_ISREG(status.st_mode)) {
    refuse(file.path, S_ISDIR(status.st_mode) ? "is a folder, not a file" : "is not a regular file");
  }
  file.bytes = static_cast<std::uint64_t>(status.st_size);
  return file;
}

} // namespace

LocalStorage::LocalStorage(Roots roots) : roots_(std::move(roots)) {
  open_root(roots_.input);
  open_root(roots_.output);
}

std::string LocalStorage::read_input(std::string_view name, std::uint64_t max_bytes,
                                     const std::stop_token& /*stop*/) const {
  const OpenFile file = open_regular(roots_.input, name, 0);
  if (file.bytes > max_bytes) {
    refuse(file.path, "is too large: " + std::to_string(file.bytes) + " bytes, at most " + std::to_string(max_bytes) +
                          " are allowed");
  }
  std::string content(file.bytes + 1, '\0'); // one more byte shows whether the file has grown meanwhile
  content.resize(read_up_to(file.fd.get(), std::as_writable_bytes(std::span(content)), file.path));
  if (content.size() > file.bytes) {
    throw TransientError("'" + file.path + "' was still growing while it was read");
  }
  return content;
}

void LocalStorage::read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                               const std::stop_token& /*stop*/) const {
  const OpenFile file = open_regular(roots_.output, name, O_NOFOLLOW);
  std::vector<std::byte> piece(piece_bytes);
  do {
    piece.resize(read_up_to(file.fd.get(), piece, file.path));
    visit(piece);
  } while (piece.size() == piece_bytes);
}

bool LocalStorage::output_exists(std::string_view name, const std::stop_token& /*stop*/) const {
  checked_components(name);
  const FileDescriptor root = open_root(roots_.output);
  const FileDescriptor file = open_beneath(root, std::string(name), O_PATH | O_NOFOLLOW);
  if (!file && errno != ENOENT) {
    throw_open_error(errno, roots_.output, name);
  }
  return static_cast<bool>(file);
}

std::unique_ptr<Publication> LocalStorage::open_output(std::string_view name, std::string_view owner,
                                                       const std::stop_token& /*stop*/) const {
  OutputPlace place = open_place(roots_.output, name);
  return std::make_unique<FilePublication>(std::move(place.parent), place.name, place.shown_parent, owner);
}

std::unique_ptr<FolderPublication> LocalStorage::open_folder(std::string_view name, std::string_view owner,
                                                             const std::stop_token& /*stop*/) const {
  OutputPlace place = open_place(roots_.output, name);
  return std::make_unique<LocalFolderPublication>(std::move(place.parent), place.name, place.shown_parent, owner);
}

} // namespace audiobookd::storage
