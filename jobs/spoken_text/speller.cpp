// See speller.h.
#include "jobs/spoken_text/speller.h"

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>
#include <unicode/rbnf.h>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t most_cardinal_digits = 15;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// English is written in two ways, and so is it spoken; the rest of the world follows Britain but for the Philippines
/// and the neighbours of the United States.
bool is_british_english(const std::string& language) {
  static const std::set<std::string> american = {"en", "en-US", "en-PH", "en-PR", "en-CA"};
  return language.starts_with("en") && !american.contains(language);
}

/// ICU marks where long words may be divided.
std::string without_soft_hyphens(std::string text) {
  constexpr std::string_view soft_hyphen = "\u00ad";
  for (std::size_t at = text.find(soft_hyphen); at != std::string::npos; at = text.find(soft_hyphen, at)) {
    text.erase(at, soft_hyphen.size());
  }
  return text;
}

} // namespace

struct Speller::Icu {
  explicit Icu(const icu::Locale& locale) : format(icu::URBNF_SPELLOUT, locale, status) {}
  UErrorCode status = U_ZERO_ERROR;
  icu::RuleBasedNumberFormat format;
  std::set<std::string> rule_sets;
};

Speller::Speller(const std::string& language)
    : icu_(std::make_unique<Icu>(icu::Locale::createCanonical(language.c_str()))),
      british_(is_british_english(language)) {
  if (U_FAILURE(icu_->status)) {
    throw std::runtime_error("ICU cannot spell numbers in '" + language + "': " + u_errorName(icu_->status));
  }
  for (int i = 0; i < icu_->format.getNumberOfRuleSetNames(); ++i) {
    std::string name;
    icu_->rule_sets.insert(icu_->format.getRuleSetName(i).toUTF8String(name));
  }
}

Speller::~Speller() = default;

std::string Speller::spell(std::int64_t value, const std::string& rule_set) const {
  icu::UnicodeString words;
  icu::FieldPosition position;
  UErrorCode status = U_ZERO_ERROR;
  if (icu_->rule_sets.contains(rule_set)) {
    icu_->format.format(value, icu::UnicodeString::fromUTF8(rule_set), words, position, status);
  } else {
    icu_->format.format(value, words, position, status);
  }
  if (U_FAILURE(status)) {
    throw std::runtime_error("ICU cannot spell " + std::to_string(value) + ": " + u_errorName(status));
  }
  std::string text;
  text = without_soft_hyphens(words.toUTF8String(text));
  std::erase(text, ','); // "one million, two hundred and five": no pause
  return text;
}

std::string Speller::cardinal(std::int64_t value) const {
  return spell(value, british_ ? "%spellout-cardinal-verbose" : "%spellout-cardinal");
}

std::string Speller::ordinal(std::int64_t value) const {
  return spell(value, british_ ? "%spellout-ordinal-verbose" : "%spellout-ordinal");
}

std::string Speller::year(std::int64_t value) const {
  const bool is_two_thousand_something = value >= 2000 && value < 2010;
  return is_two_thousand_something ? cardinal(value) : spell(value, "%spellout-numbering-year");
}

std::string Speller::integer(std::string_view written) const {
  const std::int64_t value = value_of(written);
  const bool is_code = written.size() > 1 && written.front() == '0';
  if (value >= 0 && !is_code) {
    return cardinal(value);
  }
  std::string plain(written);
  std::erase(plain, ',');
  return digits(plain);
}

std::string Speller::decimal(std::string_view written) const {
  const std::size_t point = written.find('.');
  if (point == std::string_view::npos) {
    return integer(written);
  }
  const std::string_view whole = written.substr(0, point);
  return (whole.empty() ? "" : integer(whole) + " ") + "point " + digits(written.substr(point + 1));
}

std::string Speller::digits(std::string_view written) const {
  static const std::array<std::string, 10> names = [] {
    const Speller english("en");
    std::array<std::string, 10> words;
    for (int digit = 0; digit < 10; ++digit) {
      words.at(static_cast<std::size_t>(digit)) = english.cardinal(digit);
    }
    return words;
  }();
  std::string text;
  bool apart = false;
  for (const char c : written) {
    if (!is_digit(c)) {
      apart = !text.empty();
      continue;
    }
    text += text.empty() ? "" : (apart ? ", " : " ");
    text += names.at(static_cast<std::size_t>(c - '0'));
    apart = false;
  }
  return text;
}

std::string Speller::fraction(std::string_view numerator, std::string_view denominator) const {
  static const std::set<std::int64_t> spoken_parts = {2,  3,  4,  5,  6,  7,  8,  9,  10, 11,  12,  13,
                                                      14, 15, 16, 20, 24, 30, 32, 60, 64, 100, 1000};
  const std::int64_t parts = value_of(denominator);
  if (!spoken_parts.contains(parts)) {
    return integer(numerator) + " over " + integer(denominator);
  }
  std::string part = parts == 2 ? "half" : parts == 4 ? "quarter" : ordinal(parts);
  part.erase(0, part.starts_with("one ") ? 4 : 0); // "seven hundredths"
  const bool one = value_of(numerator) == 1;
  return integer(numerator) + " " + (one ? part : parts == 2 ? "halves" : part + "s");
}

std::int64_t value_of(std::string_view written, std::int64_t otherwise) noexcept {
  std::int64_t value = 0;
  std::size_t count = 0;
  for (const char c : written) {
    if (is_digit(c)) {
      value = ++count > most_cardinal_digits ? 0 : value * 10 + (c - '0');
    }
  }
  return count == 0 || count > most_cardinal_digits ? otherwise : value;
}

std::string plural(std::string words) {
  if (words.ends_with('y')) {
    words.pop_back();
    return words + "ies";
  }
  return words + (words.ends_with('x') ? "es" : "s");
}

} // namespace audiobookd::jobs
