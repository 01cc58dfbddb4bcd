// See characters.h.
#include "jobs/spoken_text/characters.h"

#include "jobs/utf8.h"

#include <stdexcept>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

namespace audiobookd::jobs {
namespace {

const icu::Normalizer2& normalizer(bool compatible) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found =
      compatible ? icu::Normalizer2::getNFKCInstance(status) : icu::Normalizer2::getNFCInstance(status);
  if (U_FAILURE(status)) {
    throw std::runtime_error(std::string("ICU cannot normalize: ") + u_errorName(status));
  }
  return *found;
}

bool is_between(UChar32 c, UChar32 first, UChar32 last) { return c >= first && c <= last; }

/// Characters that stand for others and sound like them.
bool is_variant(UChar32 c) {
  return is_between(c, 0xfb00, 0xfb06)      // ligatures
         || is_between(c, 0xff01, 0xff5e)   // full width
         || is_between(c, 0x2080, 0x209c)   // subscripts
         || is_between(c, 0x2160, 0x217f)   // Roman numerals
         || is_between(c, 0x2460, 0x24ff)   // in circles and brackets
         || is_between(c, 0x3371, 0x33df)   // units
         || is_between(c, 0x1d400, 0x1d7ff) // mathematical letters
         || c == 0x2103 || c == 0x2109      // degrees Celsius and Fahrenheit
         || c == 0x2113 || c == 0x212b || c == 0x2126 || c == 0x00b5;
}

bool is_fraction(UChar32 c) { return is_between(c, 0xbc, 0xbe) || is_between(c, 0x2150, 0x215e) || c == 0x2189; }

bool is_unseen(UChar32 c) {
  return is_between(c, 0xfe00, 0xfe0f) || c == 0x20e3 || u_charType(c) == U_FORMAT_CHAR ||
         (u_charType(c) == U_CONTROL_CHAR && !u_isUWhiteSpace(c));
}

/// Joiners shape the letters of some scripts.
bool is_needed_joiner(UChar32 c, std::string_view before) {
  const UChar32 last = last_code_point(before);
  return is_between(c, 0x200c, 0x200d) && last > 0x2ff && (u_isalpha(last) || u_charType(last) == U_NON_SPACING_MARK);
}

bool ends_with_digit(std::string_view text) { return !text.empty() && text.back() >= '0' && text.back() <= '9'; }

/// Whether exactly three digits begin @p text.
bool begins_with_group(std::string_view text) {
  std::size_t count = 0;
  while (count < text.size() && count < 4 && text[count] >= '0' && text[count] <= '9') {
    ++count;
  }
  return count == 3;
}

std::string composed(std::string text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2& nfc = normalizer(false);
  if (nfc.isNormalizedUTF8(text, status) || U_FAILURE(status)) {
    return text;
  }
  std::string result;
  icu::StringByteSink<std::string> sink(&result);
  nfc.normalizeUTF8(0, text, sink, nullptr, status);
  return U_SUCCESS(status) ? result : text;
}

/// @p c by what NFKC makes of it; the bar of a fraction becomes a slash.
void append_variant(std::string& result, UChar32 c) {
  UErrorCode status = U_ZERO_ERROR;
  std::string plain;
  normalizer(true).normalize(icu::UnicodeString(c), status).toUTF8String(plain);
  if (const std::size_t bar = plain.find("⁄"); bar != std::string::npos) {
    plain.replace(bar, std::string_view("⁄").size(), "/");
    result += ends_with_digit(result) ? " " : "";
  }
  result += plain;
}

/// A character beyond ASCII, with what stands @p after it.
void append_plain(std::string& result, UChar32 c, std::string_view after, bool ascii_digits) {
  if (u_isUWhiteSpace(c)) {
    result += ends_with_digit(result) && begins_with_group(after) ? ',' : ' ';
  } else if (is_variant(c) || is_fraction(c)) {
    append_variant(result, c);
  } else if (c == 0x2010 || c == 0x2011) { // hyphens
    result += '-';
  } else if (c == 0x2044) { // fraction slash
    result += '/';
  } else if (c == 0x2116) {
    result += after.starts_with(' ') ? "No." : "No. ";
  } else if (is_unseen(c) && !is_needed_joiner(c, result)) {
    return;
  } else if (ascii_digits && superscript_digit(static_cast<char32_t>(c)) < 0 && u_charDigitValue(c) >= 0) {
    result += static_cast<char>('0' + u_charDigitValue(c));
  } else {
    append_code_point(result, c);
  }
}

} // namespace

int superscript_digit(char32_t c) noexcept {
  switch (c) {
  case U'¹': return 1;
  case U'²': return 2;
  case U'³': return 3;
  default: return c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ? static_cast<int>(c - 0x2070) : -1;
  }
}

std::string without_emphasis(std::string text) {
  const auto is_joined = [&text](std::size_t at) {
    const auto is_word = [](char c) { return u_isalnum(static_cast<unsigned char>(c)) || (c & 0x80) != 0; };
    return at > 0 && at + 1 < text.size() && is_word(text[at - 1]) && is_word(text[at + 1]);
  };
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    result += text[at] == '_' && !is_joined(at) ? "" : std::string_view(&text[at], 1);
  }
  return result;
}

std::string plain_characters(std::string_view text, bool ascii_digits) {
  std::string result;
  result.reserve(text.size());
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t end) {
    if (c >= 0x20 && c < 0x7f) {
      result += static_cast<char>(c);
    } else if (c < 0x80) {
      result += u_isUWhiteSpace(c) ? " " : "";
    } else {
      append_plain(result, c, text.substr(end), ascii_digits);
    }
  });
  return composed(std::move(result));
}

} // namespace audiobookd::jobs
