// Preloaded into the program by a test: writing at an offset into a file whose name contains "stuck" never returns, as
// on a network file system whose server has gone. Any thread.
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

void hang_if_stuck(int fd) {
  char link[64];
  char name[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, name, sizeof name - 1);
  if (length <= 0) {
    return;
  }
  name[length] = '\0';
  while (std::strstr(name, "stuck") != nullptr) {
    pause();
  }
}

using PositionedWrite = ssize_t (*)(int, const void*, std::size_t, off_t);

} // namespace

extern "C" ssize_t pwrite(int fd, const void* data, std::size_t size, off_t offset) {
  static const auto next = reinterpret_cast<PositionedWrite>(dlsym(RTLD_NEXT, "pwrite"));
  hang_if_stuck(fd);
  return next(fd, data, size, offset);
}

extern "C" ssize_t pwrite64(int fd, const void* data, std::size_t size, off_t offset) {
  return pwrite(fd, data, size, offset);
}
