// Numbers for themselves: years, ordinals, fractions, versions and all the rest.
#include "jobs/spoken_text/number_rules.h"

#include <algorithm>
#include <array>
#include <unordered_set>

namespace audiobookd::jobs {
namespace {

bool is_year(std::int64_t value) { return value >= 1100 && value <= 2099; }

/// "in 1066": words before a year that could be a number as well.
bool is_year_context(std::string_view before) {
  static const std::unordered_set<std::string_view> words = {"in",   "In",   "since", "Since", "until",  "till",
                                                             "from", "From", "year",  "AD",    "before", "after",
                                                             "by",   "By",   "After", "circa", "Until",  "Before"};
  return words.contains(previous_word(before));
}

std::optional<Reading> take(const Match& match, std::string spoken) {
  return Reading{match.length(), std::move(spoken)};
}

std::optional<Reading> read_all_digits(const Match& match, const Spot& spot) {
  return take(match, spot.speller.digits(match[0]));
}

std::optional<Reading> read_idiom(const Match& match, const Spot& spot) {
  return take(match, spot.speller.integer(match[1]) + " " + spot.speller.integer(match[2]));
}

std::optional<Reading> read_dotted(const Match& match, const Spot& spot) {
  std::string spoken;
  std::string_view rest = match[0];
  while (!rest.empty()) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    spoken += (spoken.empty() ? "" : " point ") + spot.speller.integer(rest.substr(0, dot));
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
  return take(match, spoken);
}

std::optional<Reading> read_dashed(const Match& match, const Spot& spot) {
  std::string spoken;
  std::string_view rest = match[0];
  while (!rest.empty()) {
    const std::size_t dash = std::min(rest.find('-'), rest.size());
    spoken += (spoken.empty() ? "" : " ") + spot.speller.integer(rest.substr(0, dash));
    rest.remove_prefix(std::min(dash + 1, rest.size()));
  }
  return take(match, spoken);
}

/// Groups: whole number before, numerator, denominator.
std::optional<Reading> read_fraction(const Match& match, const Spot& spot) {
  if (value_of(match[3]) <= 0 || spot.after(match.length()).starts_with("/") || spot.before().ends_with("/")) {
    return std::nullopt;
  }
  const std::size_t ending = match[0].size() - (match[0].find_last_of("0123456789") + 1); // "2/3rds"
  return take(match, quantity_words(spot.speller, match[0].substr(0, match[0].size() - ending)));
}

std::string decade_words(const Speller& speller, std::int64_t value) {
  return plural(value >= 1100 && value != 2000 ? speller.year(value) : speller.cardinal(value));
}

/// "1990s", "'90s", "80's". Groups: the number.
std::optional<Reading> read_decade(const Match& match, const Spot& spot) {
  return take(match, decade_words(spot.speller, value_of(match[1])));
}

/// "'45", but not "'45 men'" in quotation marks: only where nothing closes it soon.
std::optional<Reading> read_short_year(const Match& match, const Spot& spot) {
  return spot.after(match.length()).starts_with("'") ? std::nullopt
                                                     : take(match, spot.speller.cardinal(value_of(match[1])));
}

std::optional<Reading> read_ordinal(const Match& match, const Spot& spot) {
  const std::int64_t value = value_of(match[1]);
  return value < 0 ? std::nullopt : take(match, spot.speller.ordinal(value));
}

/// "the 23d", as it was written once.
std::optional<Reading> read_old_ordinal(const Match& match, const Spot& spot) {
  const std::string_view previous = previous_word(spot.before());
  const bool is_likely = match[1].size() > 1 || previous == "the" || previous == "The";
  return is_likely ? read_ordinal(match, spot) : std::nullopt;
}

/// "1939–45". Groups: the years.
std::optional<Reading> read_years(const Match& match, const Spot& spot) {
  const std::int64_t first = value_of(match[1]);
  const std::int64_t second = value_of(match[2]);
  const std::int64_t decade = match[2].size() == 1 ? 10 : 100;
  if (!is_year(first) || second <= first % decade) {
    return std::nullopt;
  }
  const std::string end =
      second < 10 && match[2].size() == 2 ? "oh " + spot.speller.cardinal(second) : spot.speller.cardinal(second);
  return take(match, spot.speller.year(first) + " to " + end);
}

/// "44 BC", "AD 79" and bare years.
std::optional<Reading> read_year(const Match& match, const Spot& spot) {
  const std::int64_t value = value_of(match[1]);
  const std::string_view after = spot.after(match.length());
  const bool has_more = (after.starts_with(".") || after.starts_with(",")) && begins_with_digit(after.substr(1));
  const bool early = value >= 1010 && value < 1100 && (!match[2].empty() || is_year_context(spot.before()));
  if (has_more || !(is_year(value) || early)) {
    return std::nullopt;
  }
  return Reading{match[1].size(), spot.speller.year(value)};
}

/// "CA 90210".
std::optional<Reading> read_zip_code(const Match& match, const Spot& spot) {
  const std::string_view state = previous_word(spot.before());
  const bool is_state = state.size() == 2 && begins_with_capital(state) && begins_with_capital(state.substr(1));
  return is_state ? take(match, spot.speller.digits(match[0])) : std::nullopt;
}

/// Superscripts behind a number. Groups: the number, a minus, the superscripts.
std::optional<Reading> read_power(const Match& match, const Spot& spot) {
  static constexpr std::array<std::string_view, 10> superscripts = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string exponent;
  for (std::string_view rest = match[3]; !rest.empty();) {
    for (std::size_t digit = 0; digit < superscripts.size(); ++digit) {
      if (rest.starts_with(superscripts.at(digit))) {
        exponent += static_cast<char>('0' + digit);
        rest.remove_prefix(superscripts.at(digit).size());
        break;
      }
    }
  }
  const bool negative = !match[2].empty();
  const std::string power = negative          ? " to the power of minus " + spot.speller.integer(exponent)
                            : exponent == "2" ? " squared"
                            : exponent == "3" ? " cubed"
                                              : " to the power of " + spot.speller.integer(exponent);
  return take(match, spot.speller.decimal(match[1]) + power);
}

/// "10 000": thousands behind a space.
std::optional<Reading> read_spaced(const Match& match, const Spot& spot) {
  std::string digits(match[0]);
  std::erase(digits, ' ');
  return take(match, spot.speller.integer(digits));
}

std::optional<Reading> read_decimal(const Match& match, const Spot& spot) {
  return take(match, spot.speller.decimal(match[0]));
}

/// "2019/20".
std::optional<Reading> read_season(const Match& match, const Spot& spot) {
  const std::int64_t first = value_of(match[1]);
  const bool goes_on = spot.after(match.length()).starts_with("/");
  return is_year(first) && value_of(match[2]) == (first + 1) % 100 && !goes_on ? read_years(match, spot) : std::nullopt;
}

/// What would look like a measure or a date.
const RuleTable& first_rules() {
  static const RuleTable table({
      {R"(['’‘]?(\d0|\d\d\d0)['’]?s\b)", read_decade},
      {R"(\d{1,3}(?: \d{3})*(?: 000)+\b)", read_spaced},
      {R"(\d{1,2}(?:,\d\d)+,\d{3}\b)", read_decimal},
      {R"((\d{4})/(\d\d)\b)", read_season},
  });
  return table;
}

/// The rules in order; the last takes any digit.
const RuleTable& number_rules() {
  static const RuleTable table({
      {R"(\d{16,})", read_all_digits},
      {R"((24)/(7)\b)", read_idiom},
      {R"((9)/(11)\b)", read_idiom},
      {R"(\d+(?:\.\d+){2,})", read_dotted},
      {R"(\d{1,4}(?:-\d{1,4}){2}\b)", read_dashed},
      {R"((?:(\d+)[ -])?(\d{1,4})/(\d{1,4})(?:rds|ths|nds|th|rd)?\b)", read_fraction},
      {R"(['’‘](\d\d)\b)", read_short_year},
      {R"((\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th|ST|ND|RD|TH)\b)", read_ordinal},
      {R"((\d?[23])d\b)", read_old_ordinal},
      {R"((\d{4})(?:[–-]|--)(\d{1,2})\b)", read_years},
      {R"((\d{4})\b( (?:AD|CE|BC|BCE)\b)?)", read_year},
      {R"(\d{5}\b)", read_zip_code},
      {R"((\d+(?:\.\d+)?)(⁻?)((?:⁰|¹|²|³|⁴|⁵|⁶|⁷|⁸|⁹)+))", read_power},
      {R"(\d{1,3}(?:,\d{3})+(?:\.\d+)?\b)", read_decimal},
      {R"(\d*\.\d+)", read_decimal},
      {R"(\d+)", read_decimal},
  });
  return table;
}

} // namespace

const char* const quantity_pattern = R"((?:(?:\d+[ -])?\d+/\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,15}(?:\.\d+)?|\.\d+))";

std::string quantity_words(const Speller& speller, std::string_view written) {
  const std::size_t slash = written.find('/');
  if (slash == std::string_view::npos) {
    return speller.decimal(written);
  }
  const std::string_view denominator = written.substr(slash + 1);
  const std::size_t space = written.find_first_of(" -");
  if (space == std::string_view::npos) {
    return speller.fraction(written.substr(0, slash), denominator);
  }
  const std::string_view numerator = written.substr(space + 1, slash - space - 1);
  const bool plain_half = value_of(numerator) == 1 && value_of(denominator) == 2;
  const bool plain_quarter = value_of(numerator) == 1 && value_of(denominator) == 4;
  return speller.integer(written.substr(0, space)) + " and " +
         (plain_half      ? "a half"
          : plain_quarter ? "a quarter"
                          : speller.fraction(numerator, denominator));
}

std::optional<Reading> read_number(const Spot& spot) {
  if (auto reading = first_rules().read(spot)) {
    return reading;
  }
  if (auto reading = read_date_or_time(spot)) {
    return reading;
  }
  if (auto reading = read_quantity(spot)) {
    return reading;
  }
  return number_rules().read(spot);
}

} // namespace audiobookd::jobs
