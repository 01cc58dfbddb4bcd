// Bytes of a text file to UTF-8. Pure functions: any thread.
#include "jobs/document/text_encoding.h"

#include "jobs/document/document.h"
#include "jobs/utf8.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <unicode/utf16.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

[[noreturn]] void refuse(std::string_view name, std::size_t offset, std::string_view what) {
  throw DocumentError(std::string(name) + ": not a text file: " + std::string(what) + " at byte offset " +
                      std::to_string(offset));
}

std::string hexadecimal(const char* format, std::uint32_t value) {
  std::array<char, 16> digits{};
  std::snprintf(digits.data(), digits.size(), format, value);
  return digits.data();
}

bool is_refused_control(std::uint32_t code_point) {
  const bool c0 = code_point < 0x20 && (code_point < '\t' || code_point > '\r');
  const bool c1 = code_point >= 0x7f && code_point < 0xa0 && code_point != 0x85;
  return c0 || c1;
}

/// Appends code points as UTF-8 with one kind of line end, and refuses control characters.
class TextBuilder {
public:
  TextBuilder(std::string_view name, std::size_t size_hint) : name_(name) { text_.reserve(size_hint); }

  /// @param offset where @p code_point begins in the file.
  void append(std::uint32_t code_point, std::size_t offset) {
    if (is_refused_control(code_point)) {
      refuse(name_, offset, "control character " + hexadecimal("U+%04X", code_point));
    }
    const bool second_half_of_crlf = code_point == '\n' && after_carriage_return_;
    after_carriage_return_ = code_point == '\r';
    if (second_half_of_crlf) {
      return;
    }
    switch (code_point) {
    case '\r':
    case 0x85:
    case 0x2028: text_ += '\n'; break;
    case '\v':
    case '\f':
    case 0x2029: text_ += "\n\n"; break;
    default: append_code_point(text_, static_cast<UChar32>(code_point));
    }
  }

  std::string take() { return std::move(text_); }

private:
  std::string_view name_;
  std::string text_;
  bool after_carriage_return_ = false;
};

/// Reads one code point at @p offset and moves behind it; negative, and behind the bad bytes, if it is damaged.
std::int32_t next_utf8(std::string_view bytes, std::size_t& offset) {
  auto position = static_cast<std::int64_t>(offset);
  const auto length = static_cast<std::int64_t>(bytes.size());
  UChar32 code_point = 0;
  U8_NEXT(bytes.data(), position, length, code_point);
  offset = static_cast<std::size_t>(position);
  return code_point;
}

struct Utf8Survey {
  std::size_t multibyte = 0; ///< characters of more than one byte
  std::size_t damaged = 0;
  std::size_t first_damage = 0; ///< offset
};

Utf8Survey survey_utf8(std::string_view bytes) {
  Utf8Survey survey;
  for (std::size_t offset = 0; offset < bytes.size();) {
    const std::size_t begin = offset;
    if (next_utf8(bytes, offset) < 0) {
      survey.first_damage = survey.damaged++ == 0 ? begin : survey.first_damage;
    } else if (offset - begin > 1) {
      ++survey.multibyte;
    }
  }
  return survey;
}

/// @param offset of the first byte in the file, behind the byte order mark if there was one.
std::string decode_utf8(std::string_view bytes, std::size_t offset, std::string_view name) {
  TextBuilder builder(name, bytes.size());
  while (offset < bytes.size()) {
    const std::size_t begin = offset;
    const std::int32_t code_point = next_utf8(bytes, offset);
    if (code_point < 0) {
      refuse(name, begin, "damaged UTF-8");
    }
    builder.append(static_cast<std::uint32_t>(code_point), begin);
  }
  return builder.take();
}

std::string decode_utf16(std::string_view bytes, bool big_endian, std::string_view name) {
  if (bytes.size() % 2 != 0) {
    refuse(name, bytes.size() - 1, "half a UTF-16 code unit");
  }
  const auto unit = [&](std::size_t offset) {
    const auto high = static_cast<std::uint8_t>(bytes[big_endian ? offset : offset + 1]);
    const auto low = static_cast<std::uint8_t>(bytes[big_endian ? offset + 1 : offset]);
    return static_cast<char16_t>(high << 8 | low);
  };
  TextBuilder builder(name, bytes.size());
  for (std::size_t offset = 2; offset < bytes.size();) {
    const std::size_t begin = offset;
    std::uint32_t code_point = unit(offset);
    offset += 2;
    if (U16_IS_LEAD(code_point) && offset < bytes.size() && U16_IS_TRAIL(unit(offset))) {
      code_point = static_cast<std::uint32_t>(U16_GET_SUPPLEMENTARY(code_point, unit(offset)));
      offset += 2;
    } else if (U16_IS_SURROGATE(code_point)) {
      refuse(name, begin, "half a UTF-16 surrogate pair");
    }
    builder.append(code_point, begin);
  }
  return builder.take();
}

constexpr char32_t undefined = 0xfffd;

/// What Windows-1252 puts where Latin-1 has control characters, 0x80 to 0x9F; 0: undefined.
constexpr std::array<char16_t, 32> windows_1252_specials = {
    0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

std::string decode_windows_1252(std::string_view bytes, std::string_view name) {
  TextBuilder builder(name, bytes.size() + bytes.size() / 8);
  for (std::size_t offset = 0; offset < bytes.size(); ++offset) {
    const auto byte = static_cast<std::uint8_t>(bytes[offset]);
    const char32_t code_point = from_windows_1252(byte);
    if (code_point == undefined) {
      refuse(name, offset, "byte " + hexadecimal("0x%02X", byte) + ", neither UTF-8 nor Windows-1252,");
    }
    builder.append(code_point, offset);
  }
  return builder.take();
}

} // namespace

char32_t from_windows_1252(std::uint8_t byte) noexcept {
  if (byte < 0x80 || byte >= 0xa0) {
    return byte;
  }
  const char16_t special = windows_1252_specials[byte - 0x80U];
  return special == 0 ? undefined : special;
}

DecodedText decode_text(std::string_view bytes, std::string_view name) {
  if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff")) {
    return {.text = decode_utf16(bytes, bytes[0] == '\xfe', name), .warning = {}};
  }
  const std::size_t byte_order_mark = bytes.starts_with("\xef\xbb\xbf") ? 3 : 0;
  const Utf8Survey survey = survey_utf8(bytes);
  // One bad byte among many good sequences is a damaged UTF-8 file: read as Windows-1252 it would be garbled all over.
  if (survey.damaged == 0 || byte_order_mark > 0 || survey.multibyte >= survey.damaged) {
    return {.text = decode_utf8(bytes, byte_order_mark, name), .warning = {}};
  }
  std::string text = decode_windows_1252(bytes, name);
  return {.text = std::move(text),
          .warning = std::string(name) + ": not UTF-8 (byte offset " + std::to_string(survey.first_damage) +
                     "), read as Windows-1252; save it as UTF-8 if letters come out wrong"};
}

} // namespace audiobookd::jobs
