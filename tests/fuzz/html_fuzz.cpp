// libFuzzer's entry to the reader of pages of HTML. `scripts/fuzz` builds and runs it; tests_jobs replays what it found
// (tests/data/fuzz).
#include "jobs/document/html_document.h"
#include "tests/fuzz/document_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { // NOLINT: libFuzzer's name
  return audiobookd::jobs::fuzz_document(data, size, audiobookd::jobs::parse_html);
}
