// A disk that is full soon: a tmpfs in a mount namespace of its own. Test thread only.
#pragma once

#include "tests/storage/files.h"

#include <fcntl.h>
#include <sched.h>
#include <stdexcept>
#include <sys/mount.h>
#include <unistd.h>

namespace audiobookd::tests {

/// Enters new user and mount namespaces as their root.
inline void become_root_of_namespace() {
  const auto write_map = [](const char* file, const std::string& line) {
    const int fd = ::open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      throw std::runtime_error(std::string("cannot write ") + file);
    }
    ::close(fd);
  };
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    throw std::runtime_error("unshare: user namespaces are not permitted here");
  }
  write_map("/proc/self/setgroups", "deny");
  write_map("/proc/self/uid_map", "0 " + uid + " 1");
  write_map("/proc/self/gid_map", "0 " + gid + " 1");
}

/// Runs @p body in a child process for which @p folder is an empty disk of @p bytes; its exit status (wait_for()).
inline int on_small_disk(const std::filesystem::path& folder, std::size_t bytes, const std::function<int()>& body) {
  return wait_for(start_process([&] {
    become_root_of_namespace();
    const std::string size = "size=" + std::to_string(bytes);
    if (::mount("small_disk", folder.c_str(), "tmpfs", 0, size.c_str()) != 0) {
      throw std::runtime_error("mount tmpfs is not permitted here");
    }
    return body();
  }));
}

} // namespace audiobookd::tests
