#include "storage/tag_text.h"

#include <array>
#include <cstddef>
#include <utility>

namespace audiobookd::storage {
namespace {

/// ISO 639-1 → 639-2/T of the languages that the models speak.
constexpr std::array<std::pair<std::string_view, std::string_view>, 23> languages = {{
    {"ar", "ara"}, {"da", "dan"}, {"de", "deu"}, {"el", "ell"}, {"en", "eng"}, {"es", "spa"},
    {"fi", "fin"}, {"fr", "fra"}, {"he", "heb"}, {"hi", "hin"}, {"it", "ita"}, {"ja", "jpn"},
    {"ko", "kor"}, {"ms", "msa"}, {"nl", "nld"}, {"no", "nor"}, {"pl", "pol"}, {"pt", "por"},
    {"ru", "rus"}, {"sv", "swe"}, {"sw", "swa"}, {"tr", "tur"}, {"zh", "zho"},
}};

/// Length of the valid UTF-8 sequence at the start of @p text, 0 when there is none; sets @p code_point.
std::size_t decode_utf8(std::string_view text, char32_t& code_point) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  if (length == 0 || length > text.size()) {
    return 0;
  }
  code_point = length == 1 ? lead : lead & (0x7F >> length);
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if (next >> 6 != 2) {
      return 0;
    }
    code_point = code_point << 6 | (next & 0x3F);
  }
  constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  return code_point < smallest[length] || code_point > 0x10FFFF || surrogate ? 0 : length;
}

} // namespace

std::string language_code(std::string_view language) {
  const std::string_view primary = language.substr(0, language.find_first_of("-_"));
  for (const auto& [two, three] : languages) {
    if (primary == two || primary == three) {
      return std::string(three);
    }
  }
  const bool three_letters =
      primary.size() == 3 && primary.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == primary.npos;
  return three_letters ? std::string(primary) : "";
}

TagLib::String clean_tag_text(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    char32_t code_point = 0;
    const std::size_t length = decode_utf8(text, code_point);
    if (length == 0) {
      result += "\xEF\xBF\xBD"; // U+FFFD
    } else if (code_point == '\n' || code_point == '\t') {
      result += ' ';
    } else if (code_point >= 0x20 && (code_point < 0x7F || code_point > 0x9F)) {
      result += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return {result, TagLib::String::UTF8};
}

} // namespace audiobookd::storage
