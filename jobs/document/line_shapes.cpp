// Recognises lines of plain text by their shape. Pure functions: any thread.
#include "jobs/document/line_shapes.h"

#include "jobs/utf8.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <unicode/regex.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

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

std::unique_ptr<const icu::RegexPattern> compile(const std::string& pattern, std::uint32_t flags) {
  UErrorCode status = U_ZERO_ERROR;
  std::unique_ptr<const icu::RegexPattern> compiled(
      icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(pattern), flags, status));
  if (U_FAILURE(status)) {
    throw std::runtime_error("ICU cannot compile /" + pattern + "/: " + u_errorName(status));
  }
  return compiled;
}

/// A division and its number (or a name that needs none), what separates it from its title, and the title.
const icu::RegexPattern& numbered_heading() {
  static const std::unique_ptr<const icu::RegexPattern> pattern = [] {
    const std::string units = "One|Two|Three|Four|Five|Six|Seven|Eight|Nine";
    const std::string words = "(?:(?:Twenty|Thirty|Forty|Fifty)(?:[- ](?:" + units + "))?|" + units +
                              "|Ten|Eleven|Twelve|Thirteen|Fourteen|Fifteen|Sixteen|Seventeen|Eighteen|Nineteen"
                              "|(?:the )?(?:First|Second|Third|Fourth|Fifth|Sixth|Seventh|Eighth|Ninth|Tenth|Last))";
    const std::string divisions = "(?:Chapter|Part|Book|Volume|Act|Scene|Canto|Section)";
    const std::string apart = "(?:Prologue|Epilogue|Preface|Foreword|Introduction|Interlude|Afterword|Appendix)";
    return compile("(?:(?<number>" + divisions + "\\s+(?:[0-9]{1,4}|" + words + "|" + roman_numeral + "))|" + apart +
                       ")(?:\\s*(?<separator>[.:–—-])|(?=\\s|$))\\s*(?<title>.*)",
                   UREGEX_CASE_INSENSITIVE);
  }();
  return *pattern;
}

const icu::RegexPattern& numeral_alone() {
  static const auto pattern = compile(std::string(roman_numeral) + "\\.?", 0);
  return *pattern;
}

/// One line held against one pattern.
class Match {
public:
  Match(const icu::RegexPattern& pattern, std::string_view line)
      : pattern_(pattern), line_(icu::UnicodeString::fromUTF8({line.data(), static_cast<std::int32_t>(line.size())})),
        matcher_(pattern.matcher(line_, status_)), matches_(matcher_->matches(status_)) {}

  /// Whether the pattern matches the whole line.
  explicit operator bool() const { return matches_; }

  /// What a group of the pattern matched; empty if it took no part.
  std::string operator[](const char* group) {
    std::string text;
    const std::int32_t number = pattern_.groupNumberFromName(group, -1, status_);
    return matcher_->group(number, status_).toUTF8String(text);
  }

private:
  const icu::RegexPattern& pattern_;
  UErrorCode status_ = U_ZERO_ERROR;
  icu::UnicodeString line_;
  std::unique_ptr<icu::RegexMatcher> matcher_;
  bool matches_;
};

/// The heading of a division ("Chapter 3"), or none.
HeadingShape division_shape(std::string_view line) {
  Match match(numbered_heading(), line);
  if (!match) {
    return HeadingShape::none;
  }
  const std::string title = match["title"];
  if (title.empty()) {
    return match["number"].empty() ? HeadingShape::numbered : HeadingShape::bare_number;
  }
  return !match["separator"].empty() || is_title_line(title) ? HeadingShape::numbered : HeadingShape::none;
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
  if (u_isupper(characters.front())) {
    if (const HeadingShape shape = division_shape(line); shape != HeadingShape::none) {
      return shape;
    }
  }
  if (Match(numeral_alone(), line)) {
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
