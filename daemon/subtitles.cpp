// See subtitles.h.
#include "daemon/subtitles.h"

#include <cmath>
#include <fmt/format.h>
#include <string_view>

namespace audiobookd::daemon {
namespace {

std::string time_stamp(double seconds) {
  const long long ms = std::llround(1000 * seconds);
  return fmt::format("{:02}:{:02}:{:02}.{:03}", ms / 3'600'000, ms / 60'000 % 60, ms / 1000 % 60, ms % 1000);
}

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&') {
      result += "&amp;";
    } else if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else {
      result += c == '\n' || c == '\r' ? ' ' : c;
    }
  }
  return result;
}

} // namespace

std::string to_webvtt(const std::vector<Cue>& cues) {
  std::string text = "WEBVTT\n";
  std::size_t number = 0;
  for (const Cue& cue : cues) {
    text += fmt::format("\n{}\n{} --> {}\n{}\n", ++number, time_stamp(cue.begin_s), time_stamp(cue.end_s),
                        escaped(cue.text));
  }
  return text;
}

} // namespace audiobookd::daemon
