// See printable.h.
#include "daemon/ctl/printable.h"

#include "jobs/utf8.h"

#include <fmt/format.h>

namespace audiobookd::daemon {
namespace {

bool is_control(UChar32 c) { return c < 0x20 || (c >= 0x7f && c < 0xa0); }

/// Marks that change how what follows is shown, and characters that nobody sees.
bool is_deceptive(UChar32 c) {
  return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

} // namespace

std::string printable(std::string_view text) {
  std::string safe;
  jobs::for_each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) {
    if (is_control(c)) {
      safe += fmt::format("\\x{:02x}", c);
    } else if (is_deceptive(c)) {
      safe += fmt::format("\\u{:04x}", c);
    } else if (c == 0xfffd) {
      safe += "\xef\xbf\xbd";
    } else {
      safe += text.substr(begin, end - begin);
    }
  });
  return safe;
}

std::string shortened(const std::string& text, std::size_t columns) {
  if (jobs::count_characters(text) <= columns) {
    return text;
  }
  std::size_t width = 0;
  std::size_t kept = 0;
  jobs::for_each_code_point(text, [&](UChar32, std::size_t, std::size_t end) {
    if (++width < columns) {
      kept = end;
    }
  });
  return columns == 0 ? std::string() : text.substr(0, kept) + "…";
}

std::string padded(const std::string& text, std::size_t columns) {
  const std::size_t width = jobs::count_characters(text);
  return width < columns ? text + std::string(columns - width, ' ') : text;
}

} // namespace audiobookd::daemon
