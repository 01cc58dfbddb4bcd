// libFuzzer's entry to the decoder of clips: any bytes are decoded or refused with a reason, within the limits.
//
// `scripts/fuzz` builds and runs it with clang's sanitizers; tests_storage replays the corpus (tests/data/clips).
#include "storage/audio_reader.h"
#include "storage/errors.h"
#include "storage/file_descriptor.h"

#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

namespace storage = audiobookd::storage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { // NOLINT: libFuzzer's name
  const storage::FileDescriptor file(::memfd_create("clip", MFD_CLOEXEC));
  storage::write_all(file.get(), std::as_bytes(std::span(data, size)), "clip");
  constexpr storage::DecodeLimits limits{.max_seconds = 10, .max_samples = 1 << 20};
  std::size_t decoded = 0;
  try {
    storage::AudioReader reader(file.get(), "clip", limits);
    for (std::span<const float> block = reader.read(); !block.empty(); block = reader.read()) {
      decoded += block.size();
    }
  } catch (const storage::PermanentError&) { // refused, with a reason
  }
  if (decoded > static_cast<std::size_t>(limits.max_samples)) {
    std::abort();
  }
  return 0;
}
