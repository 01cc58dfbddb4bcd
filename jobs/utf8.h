// Walks over the code points of UTF-8 text. Pure functions: any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unicode/utf8.h>

namespace audiobookd::jobs {

/// Calls @p visit with every code point of @p text, its offset and the offset behind it, both in bytes. A damaged
/// sequence is visited as U+FFFD.
template <typename Visit>
void for_each_code_point(std::string_view text, Visit visit) {
  const auto length = static_cast<std::int64_t>(text.size());
  for (std::int64_t offset = 0; offset < length;) {
    const std::int64_t begin = offset;
    UChar32 code_point = 0;
    U8_NEXT_OR_FFFD(text.data(), offset, length, code_point);
    visit(code_point, static_cast<std::size_t>(begin), static_cast<std::size_t>(offset));
  }
}

/// The first code point of @p text; 0 for an empty one.
inline UChar32 first_code_point(std::string_view text) {
  UChar32 code_point = 0;
  if (!text.empty()) {
    std::size_t offset = 0;
    U8_NEXT_OR_FFFD(text.data(), offset, text.size(), code_point);
  }
  return code_point;
}

/// The last code point of @p text; 0 for an empty one.
inline UChar32 last_code_point(std::string_view text) {
  UChar32 code_point = 0;
  if (!text.empty()) {
    const std::string_view tail = text.substr(text.size() - std::min<std::size_t>(text.size(), U8_MAX_LENGTH));
    auto offset = static_cast<std::int32_t>(tail.size());
    U8_PREV_OR_FFFD(tail.data(), 0, offset, code_point);
  }
  return code_point;
}

/// @p text behind its first code point; empty for an empty one.
inline std::string_view without_first_code_point(std::string_view text) {
  std::size_t offset = 0;
  if (!text.empty()) {
    U8_FWD_1(text.data(), offset, text.size());
  }
  return text.substr(offset);
}

/// @p text before its last code point; empty for an empty one.
inline std::string_view without_last_code_point(std::string_view text) {
  if (text.empty()) {
    return text;
  }
  const std::string_view tail = text.substr(text.size() - std::min<std::size_t>(text.size(), U8_MAX_LENGTH));
  auto offset = static_cast<std::int32_t>(tail.size());
  UChar32 code_point = 0;
  U8_PREV_OR_FFFD(tail.data(), 0, offset, code_point);
  return text.substr(0, text.size() - tail.size() + static_cast<std::size_t>(offset));
}

inline void append_code_point(std::string& text, UChar32 code_point) {
  char encoded[U8_MAX_LENGTH];
  std::size_t length = 0;
  U8_APPEND_UNSAFE(encoded, length, code_point);
  text.append(encoded, length);
}

/// How many code points @p text has.
inline std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (const char byte : text) {
    count += U8_IS_TRAIL(byte) ? 0 : 1;
  }
  return count;
}

} // namespace audiobookd::jobs
