// libFuzzer's entry to text for the ear: any bytes become valid UTF-8 of bounded length, in English without digits, and
// so does what became of them.
//
// `scripts/fuzz` builds and runs it with clang's sanitizers; the first byte chooses language and kind of paragraph.
#include "jobs/spoken_text/spoken_text.h"
#include "jobs/utf8.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <unicode/uchar.h>

namespace jobs = audiobookd::jobs;

namespace {

[[noreturn]] void complain(const char* promise, const std::string& spoken) {
  std::fprintf(stderr, "%s: %s\n", promise, spoken.c_str());
  std::abort();
}

void check(const std::string& spoken, std::size_t written_bytes, bool is_english) {
  constexpr std::size_t most_growth = 16;
  if (spoken.size() > most_growth * written_bytes + 64) {
    complain("too long", spoken);
  }
  for (std::size_t at = 0; at < spoken.size();) {
    UChar32 c = 0;
    U8_NEXT(spoken.data(), at, spoken.size(), c);
    if (c < 0) {
      complain("not UTF-8", spoken);
    }
    if (is_english && u_isdigit(c)) {
      complain("a digit is left", spoken);
    }
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { // NOLINT: libFuzzer's name
  static const jobs::Words words = {{"gif", "jif"}, {"Hermione Granger", "H. G."}, {"o'clock", "oh clock"}, {"km", ""}};
  static const jobs::SpokenText english({.language = "en"});
  static const jobs::SpokenText british({.language = "en-GB", .dictionaries = {words}});
  static const jobs::SpokenText german({.language = "de"});
  if (size == 0) {
    return 0;
  }
  const bool is_heading = (data[0] & 4) != 0;
  const jobs::SpokenText& spoken = (data[0] & 3) == 0 ? british : (data[0] & 3) == 1 ? german : english;
  const std::string_view written(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string said = spoken.speak(written, is_heading);
  check(said, written.size(), &spoken != &german);
  check(spoken.speak(said, is_heading), said.size(), &spoken != &german);
  return 0;
}
