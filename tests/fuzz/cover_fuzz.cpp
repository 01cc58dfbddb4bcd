// libFuzzer's entry to the check of covers. `scripts/fuzz` builds and runs it.
#include "jobs/document/cover.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { // NOLINT: libFuzzer's name
  namespace jobs = audiobookd::jobs;
  try {
    const jobs::Cover cover = jobs::check_cover(std::string(reinterpret_cast<const char*>(data), size));
    if (cover.width <= 0 || cover.height <= 0) {
      std::abort();
    }
  } catch (const jobs::DocumentError&) { // refused, with a reason
  }
  return 0;
}
