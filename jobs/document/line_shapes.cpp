// Recognises lines of plain text by their shape. Pure functions: any thread.
#include "jobs/document/line_shapes.h"

#include "jobs/utf8.h"

#include <algorithm>
#include <regex>
#include <string>
#include <unicode/uchar.h>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t max_heading_characters = 100;
constexpr std::size_t max_title_characters = 60;

std::u32string code_points(std::string_view text) {
  std::u32string result;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) { result += static_cast<char32_t>(c); });
  return result;
}

bool ends_like_a_sentence(std::u32string_view line) {
  static constexpr std::u32string_view enders = U".,;:!?…\"'”’)—-";
  return enders.find(line.back()) != std::u32string_view::npos;
}

bool is_capitals(std::u32string_view line) {
  const auto upper = std::count_if(line.begin(), line.end(), [](char32_t c) { return u_isupper(c) != 0; });
  const auto letters = std::count_if(line.begin(), line.end(), [](char32_t c) { return u_isalpha(c) != 0; });
  return letters >= 2 && upper == letters && line.size() <= max_title_characters && !ends_like_a_sentence(line);
}

// Up to CCCXCIX. The look-ahead keeps it from matching nothing.
constexpr const char* roman_numeral = "(?=[IVXLC])C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})";

/// Groups: 1 division and number, 2 separator, 3 title. Matched against short lines only: std::regex recurses.
const std::regex& numbered_heading() {
  static const std::regex pattern = [] {
    const std::string units = "One|Two|Three|Four|Five|Six|Seven|Eight|Nine";
    const std::string words = "(?:(?:Twenty|Thirty|Forty|Fifty)(?:[- ](?:" + units + "))?|" + units +
                              "|Ten|Eleven|Twelve|Thirteen|Fourteen|Fifteen|Sixteen|Seventeen|Eighteen|Nineteen"
                              "|(?:the )?(?:First|Second|Third|Fourth|Fifth|Sixth|Seventh|Eighth|Ninth|Tenth|Last))";
    const std::string divisions = "(?:Chapter|Part|Book|Volume|Act|Scene|Canto|Section)";
    const std::string apart = "(?:Prologue|Epilogue|Preface|Foreword|Introduction|Interlude|Afterword|Appendix)";
    return std::regex("(?:(" + divisions + "\\s+(?:[0-9]{1,4}|" + words + "|" + roman_numeral + "))|" + apart +
                          ")(?:\\s*([.:-]|–|—)|(?=\\s|$))\\s*(.*)",
                      std::regex::icase);
  }();
  return pattern;
}

const std::regex& numeral_alone() {
  static const std::regex pattern(std::string(roman_numeral) + "\\.?");
  return pattern;
}

} // namespace

HeadingShape heading_shape(std::string_view line) {
  if (line.empty() || line.size() > 4 * max_heading_characters) {
    return HeadingShape::none;
  }
  const std::u32string characters = code_points(line);
  if (characters.size() > max_heading_characters) {
    return HeadingShape::none;
  }
  const std::string text(line);
  std::smatch match;
  if (u_isupper(characters.front()) && std::regex_match(text, match, numbered_heading())) {
    const std::string title = match[3];
    if (title.empty()) {
      return match[1].matched ? HeadingShape::bare_number : HeadingShape::numbered;
    }
    if (match[2].matched || is_title_line(title)) {
      return HeadingShape::numbered;
    }
  }
  if (std::regex_match(text, numeral_alone())) {
    return HeadingShape::bare_number;
  }
  return is_capitals(characters) ? HeadingShape::capitals : HeadingShape::none;
}

bool is_title_line(std::string_view line) {
  const std::u32string characters = code_points(line);
  return !characters.empty() && characters.size() <= max_title_characters && !ends_like_a_sentence(characters) &&
         (u_isupper(characters.front()) || u_isdigit(characters.front()));
}

bool is_scene_break(std::string_view line) {
  static constexpr std::u32string_view marks = U"*#_~•·⁂—–-=";
  static constexpr std::u32string_view need_company = U"—–-=_~";
  std::u32string shape = code_points(line);
  std::erase_if(shape, [](char32_t c) { return u_isUWhiteSpace(c) != 0; });
  const bool only_marks = shape.find_first_not_of(marks) == std::u32string::npos;
  const bool too_little = shape.size() < 2 && shape.find_first_of(need_company) != std::u32string::npos;
  return !shape.empty() && only_marks && !too_little;
}

} // namespace audiobookd::jobs
