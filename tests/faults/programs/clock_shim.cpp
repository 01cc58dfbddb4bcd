// Preloaded into a program (LD_PRELOAD), it moves the clock of the wall by as many seconds as the file named by
// AUDIOBOOKD_CLOCK_OFFSET says, a 64-bit integer that is read anew at every look. Monotonic clocks stay as they are.
//
// libfaketime, which is made for this, does not start together with jemalloc, which Debian's redis-server uses.
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

const volatile std::int64_t* map_offset() {
  const char* name = std::getenv("AUDIOBOOKD_CLOCK_OFFSET");
  const int file = name == nullptr ? -1 : ::open(name, O_RDONLY | O_CLOEXEC);
  void* mapped = file < 0 ? MAP_FAILED : ::mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) {
    ::_exit(126); // a test that believes that it moves the clock
  }
  ::close(file);
  return static_cast<const volatile std::int64_t*>(mapped);
}

const volatile std::int64_t* offset_s = nullptr;

__attribute__((constructor)) void prepare() { offset_s = map_offset(); }

std::int64_t offset() { return offset_s == nullptr ? 0 : *offset_s; }

} // namespace

// NOLINTBEGIN(readability-identifier-naming): names and types of the C library's functions that these stand in for
extern "C" int clock_gettime(clockid_t clock, timespec* time) {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    time->tv_sec += offset();
  }
  return result;
}

extern "C" int gettimeofday(timeval* time, void* /*zone*/) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  time->tv_sec = precise.tv_sec;
  time->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

extern "C" time_t time(time_t* result) noexcept {
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  if (result != nullptr) {
    *result = precise.tv_sec;
  }
  return precise.tv_sec;
}
// NOLINTEND(readability-identifier-naming)
