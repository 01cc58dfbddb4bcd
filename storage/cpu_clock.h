#pragma once

#include <ctime>

namespace audiobookd::storage {

/// CPU time of the calling thread so far, in seconds.
inline double thread_cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

} // namespace audiobookd::storage
