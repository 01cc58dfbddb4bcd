// Character classes and capital letters through ICU: the only file of the engine that uses it. Any thread.
#include "engine/unicode.h"

#include <array>
#include <cstdint>
#include <stdexcept>
#include <unicode/uchar.h>
#include <unicode/ustring.h>

namespace audiobookd::engine::unicode {

bool is_word(char32_t c) noexcept {
  const auto code = static_cast<UChar32>(c);
  constexpr std::uint32_t categories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return (U_GET_GC_MASK(code) & categories) != 0 || u_hasBinaryProperty(code, UCHAR_ALPHABETIC) ||
         u_hasBinaryProperty(code, UCHAR_JOIN_CONTROL);
}

bool is_lower(char32_t c) noexcept { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_LOWERCASE); }

std::u32string to_upper(char32_t c) {
  std::array<UChar, 2> source{};
  std::int32_t length = 0;
  UErrorCode status = U_ZERO_ERROR;
  const auto code = static_cast<UChar32>(c);
  u_strFromUTF32(source.data(), source.size(), &length, &code, 1, &status);
  std::array<UChar, 8> upper{}; // a character has at most three capitals
  const std::int32_t upper_length = u_strToUpper(upper.data(), upper.size(), source.data(), length, "", &status);
  std::array<UChar32, 8> result{};
  u_strToUTF32(result.data(), result.size(), &length, upper.data(), upper_length, &status);
  if (U_FAILURE(status)) {
    throw std::runtime_error("ICU cannot map U+" + std::to_string(code) + " to upper case: " + u_errorName(status));
  }
  return {result.begin(), result.begin() + length};
}

} // namespace audiobookd::engine::unicode
