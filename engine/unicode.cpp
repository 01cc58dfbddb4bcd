// UTF-8 and white space. Pure functions; any thread.
#include "engine/unicode.h"

#include <cstdint>

namespace audiobookd::engine::unicode {
namespace {

/// The continuation bytes that a lead byte asks for, and the range of the first of them: narrower than 80..BF where
/// over-long forms, surrogates or values above U+10FFFF would begin.
struct Lead {
  int continuations;
  unsigned char least = 0x80;
  unsigned char most = 0xBF;
};

Lead classify(unsigned char byte) noexcept {
  if (byte >= 0xC2 && byte <= 0xDF) {
    return {1};
  }
  if (byte >= 0xE0 && byte <= 0xEF) {
    return {2, static_cast<unsigned char>(byte == 0xE0 ? 0xA0 : 0x80),
            static_cast<unsigned char>(byte == 0xED ? 0x9F : 0xBF)};
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    return {3, static_cast<unsigned char>(byte == 0xF0 ? 0x90 : 0x80),
            static_cast<unsigned char>(byte == 0xF4 ? 0x8F : 0xBF)};
  }
  return {0};
}

/// Takes one code point, or one ill-formed part, from the front of @p rest.
char32_t take(std::string_view& rest) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(rest[i]); };
  const unsigned char first = byte(0);
  const auto finish = [&](std::size_t used, char32_t c) {
    rest.remove_prefix(used);
    return c;
  };
  if (first < 0x80) {
    return finish(1, first);
  }
  Lead lead = classify(first);
  if (lead.continuations == 0) {
    return finish(1, replacement_character);
  }
  char32_t c = first & (0x3F >> lead.continuations);
  for (int i = 1; i <= lead.continuations; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (at >= rest.size() || byte(at) < lead.least || byte(at) > lead.most) {
      return finish(at, replacement_character);
    }
    c = (c << 6) | (byte(at) & 0x3F);
    lead.least = 0x80;
    lead.most = 0xBF;
  }
  return finish(static_cast<std::size_t>(lead.continuations) + 1, c);
}

void append(std::string& out, char32_t c) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

} // namespace

std::u32string decode(std::string_view utf8) {
  std::u32string text;
  text.reserve(utf8.size());
  while (!utf8.empty()) {
    text.push_back(take(utf8));
  }
  return text;
}

std::string encode(std::u32string_view text) {
  std::string utf8;
  utf8.reserve(text.size());
  for (const char32_t c : text) {
    const bool is_scalar = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
    append(utf8, is_scalar ? c : replacement_character);
  }
  return utf8;
}

bool is_white_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_space(char32_t c) noexcept { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

} // namespace audiobookd::engine::unicode
