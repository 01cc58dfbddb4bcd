// libFuzzer's entry to the reader of Word documents, archive and all. `scripts/fuzz` builds and runs it; tests_jobs
// replays what it found (tests/data/fuzz).
#include "jobs/document/docx_document.h"
#include "tests/fuzz/document_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { // NOLINT: libFuzzer's name
  return audiobookd::jobs::fuzz_document(data, size, audiobookd::jobs::parse_docx);
}
