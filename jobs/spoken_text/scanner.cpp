// See scanner.h.
#include "jobs/spoken_text/scanner.h"

#include "jobs/spoken_text/number_rules.h"
#include "jobs/spoken_text/reading.h"
#include "jobs/spoken_text/spoken_output.h"
#include "jobs/spoken_text/word_rules.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <optional>
#include <unicode/uchar.h>

namespace audiobookd::jobs {
namespace {

/// How a language writes whole numbers: what stands between thousands.
std::string_view group_separator(std::string_view language) {
  const std::string_view base = language.substr(0, language.find('-'));
  return base == "fr" || base == "nb" || base == "no" || base == "sv" ? "," : "."; // narrow spaces became commas
}

class Scanner {
public:
  Scanner(std::string_view text, const std::vector<DictionaryMatch>& matches, RuleSet rules, const Speller* speller,
          std::string_view language, bool is_heading)
      : text_(text), matches_(matches), rules_(rules), speller_(speller), language_(language), is_heading_(is_heading),
        output_(text.size()) {}

  std::string run() && {
    for (const DictionaryMatch& match : matches_) {
      scan_to(match.begin);
      output_.say_exactly(match.spoken);
      at_ = match.end;
    }
    scan_to(text_.size());
    return std::move(output_).finish();
  }

private:
  void scan_to(std::size_t limit) {
    limit_ = limit;
    while (at_ < limit_) {
      step();
    }
    at_ = limit_;
  }

  /// Reads or copies what comes next, a word at most.
  void step() {
    const char c = text_[at_];
    if (c == ' ' || rules_ == RuleSet::none) {
      pass(1);
    } else if (const std::string_view word = word_here(); !word.empty()) {
      take_word(word);
    } else if (is_digit(c) || may_begin_number(c)) {
      take(read_number_here(), length_here());
    } else if (!take_repeated(c)) {
      take(read_symbol_here(), length_here());
    }
  }

  [[nodiscard]] Spot spot() const { return {text_, at_, limit_, is_heading_, *speller_}; }

  void take_word(std::string_view word) {
    std::optional<Reading> reading;
    if (rules_ == RuleSet::english) {
      reading = read_address(word, spot());
      reading = reading ? reading : read_abbreviation(word, spot());
      reading = reading ? reading : read_roman_numeral(word, spot());
      reading = reading ? reading : read_currency_code(word);
      reading = reading ? reading : read_times(word);
    }
    take(reading, word.size());
  }

  /// The x in "3x4" and "3 x 4".
  [[nodiscard]] std::optional<Reading> read_times(std::string_view word) const {
    const std::string_view before = text_.substr(0, at_);
    const std::string_view after = text_.substr(at_ + word.size());
    const bool spaced = before.ends_with(' ') && after.starts_with(' ');
    const std::string_view left = before.substr(0, before.size() - (spaced ? 1 : 0));
    const bool between = !left.empty() && is_digit(left.back()) && begins_with_digit(after.substr(spaced ? 1 : 0));
    return word == "x" && between ? std::optional(Reading{1, "by"}) : std::nullopt;
  }

  /// "USD 5".
  [[nodiscard]] std::optional<Reading> read_currency_code(std::string_view word) const {
    const bool likely =
        (word.size() == 3 && text_.substr(at_ + 3).starts_with(' ') && begins_with_digit(text_.substr(at_ + 4))) ||
        (word.size() <= 2 && text_.substr(at_ + word.size()).starts_with('$'));
    return likely && begins_with_capital(word) ? read_quantity(spot()) : std::nullopt;
  }

  /// Currency signs, and what may stand before digits.
  [[nodiscard]] bool may_begin_number(char c) const {
    if (rules_ != RuleSet::english) {
      return false;
    }
    const std::string_view rest = text_.substr(at_, limit_ - at_);
    const bool apart = at_ == 0 || !is_word_byte(text_[at_ - 1]);
    switch (c) {
    case '.':
    case '\'':
    case '(':
    case '+': return apart && begins_with_digit(rest.substr(1));
    case '$': return true;
    default: break;
    }
    for (const std::string_view sign : {"£", "€", "¥", "₹", "₩", "₽"}) {
      if (rest.starts_with(sign)) {
        return true;
      }
    }
    return (rest.starts_with("’") || rest.starts_with("‘")) && begins_with_digit(rest.substr(3)) &&
           (apart || text_.substr(0, at_).ends_with("“"));
  }

  [[nodiscard]] std::optional<Reading> read_number_here() const {
    if (rules_ == RuleSet::english) {
      auto reading = read_number(spot());
      return reading ? reading : read_symbol(spot());
    }
    return rules_ == RuleSet::numbers ? read_whole_number() : std::nullopt;
  }

  /// A whole number of a language other than English: nothing but white space or sentence punctuation around it.
  [[nodiscard]] std::optional<Reading> read_whole_number() const {
    constexpr std::size_t longest = 19;
    const std::string_view rest = text_.substr(at_, std::min(limit_ - at_, longest + 1));
    std::size_t length = 0;
    const char group = group_separator(language_).front();
    while (length < rest.size() && (is_digit(rest[length]) || (rest[length] == group && is_group(rest, length)))) {
      ++length;
    }
    const std::string digits = digits_of(rest.substr(0, length));
    const std::int64_t value = value_of(digits);
    if (length > longest || value < 2 || value % 10 == 1 || digits.front() == '0' || !stands_alone(length)) {
      return std::nullopt; // "1" and its relatives change with what they count
    }
    const bool is_year = digits.size() == 4 && length == 4 && value >= 1100 && value < 2000;
    const bool has_year_form = language_.starts_with("de") || language_.starts_with("nl") ||
                               language_.starts_with("sv") || language_.starts_with("da") ||
                               language_.starts_with("nb") || language_.starts_with("no");
    return Reading{length, is_year && has_year_form ? speller_->year(value) : speller_->cardinal(value)};
  }

  static bool is_group(std::string_view text, std::size_t separator) {
    std::size_t count = 0;
    while (separator + 1 + count < text.size() && is_digit(text[separator + 1 + count])) {
      ++count;
    }
    return separator > 0 && count == 3;
  }

  static std::string digits_of(std::string_view text) {
    std::string digits;
    for (const char c : text) {
      digits += is_digit(c) ? std::string(1, c) : "";
    }
    return digits.empty() ? "0" : digits;
  }

  [[nodiscard]] bool stands_alone(std::size_t length) const {
    const std::string_view after = text_.substr(at_ + length);
    const bool starts = at_ == 0 || text_[at_ - 1] == ' ' || text_[at_ - 1] == '(';
    if (!starts || at_ + length > limit_) {
      return false;
    }
    if (after.empty() || after.front() == ')' || after.front() == '!' || after.front() == '?' || after.front() == ';') {
      return true;
    }
    if (after.front() == ',') {
      return !begins_with_digit(after.substr(1));
    }
    return after.front() == ' ' && u_isalpha(first_code_point(after.substr(1)));
  }

  [[nodiscard]] std::optional<Reading> read_symbol_here() const {
    return rules_ == RuleSet::english ? read_symbol(spot()) : read_decoration();
  }

  /// What every language leaves out.
  [[nodiscard]] std::optional<Reading> read_decoration() const {
    const UChar32 c = first_code_point(text_.substr(at_));
    const auto type = u_charType(c);
    const bool seen_only = (type == U_OTHER_SYMBOL && c != U'°' && c != U'©') || type == U_PRIVATE_USE_CHAR ||
                           c == U'†' || c == U'‡' || c == U'•' || c == U'※' || c == U'⁂';
    return seen_only ? std::optional(Reading{length_here(), ""}) : std::nullopt;
  }

  /// "!!!" is "!", "?!?!" is "?!", "......" is "...", "-----" is "—".
  bool take_repeated(char c) {
    if (std::string_view("!?,;.-").find(c) == std::string_view::npos) {
      return false;
    }
    const bool is_mixed = c == '!' || c == '?';
    std::size_t length = 0;
    while (at_ + length < limit_ &&
           (text_[at_ + length] == c || (is_mixed && (text_[at_ + length] == '!' || text_[at_ + length] == '?')))) {
      ++length;
    }
    if (length < 2 || ((c == '-' || c == '.') && length < 4)) {
      return false;
    }
    const std::string_view marks = text_.substr(at_, length);
    std::string kept(1, c);
    if (is_mixed) {
      kept += marks.find('!') != std::string_view::npos && marks.find('?') != std::string_view::npos
                  ? std::string(1, c == '!' ? '?' : '!')
                  : "";
    } else if (c == '.') {
      kept = "...";
    } else if (c == '-') {
      kept = "—";
    }
    output_.copy(kept);
    at_ += length;
    return true;
  }

  /// The letters that begin here, with the marks on them; not those of a word that began earlier.
  [[nodiscard]] std::string_view word_here() const {
    const std::string_view rest = text_.substr(at_, limit_ - at_);
    std::size_t end = 0;
    while (end < rest.size()) {
      const auto byte = static_cast<unsigned char>(rest[end]);
      if (byte < 0x80) {
        if (!u_isalpha(byte)) {
          break;
        }
        ++end;
        continue;
      }
      const UChar32 c = first_code_point(rest.substr(end));
      if (!u_isalpha(c) && !(end > 0 && (U_GET_GC_MASK(c) & U_GC_M_MASK) != 0)) {
        break;
      }
      end = rest.size() - without_first_code_point(rest.substr(end)).size();
    }
    return rest.substr(0, end);
  }

  [[nodiscard]] std::size_t length_here() const {
    const std::string_view rest = text_.substr(at_, limit_ - at_);
    return rest.size() - without_first_code_point(rest).size();
  }

  /// Says @p reading, or copies @p length bytes where there is none.
  void take(const std::optional<Reading>& reading, std::size_t length) {
    if (!reading || reading->length == 0 || at_ + reading->length > limit_) {
      pass(length);
      return;
    }
    output_.say(reading->spoken);
    at_ += reading->length;
  }

  void pass(std::size_t length) {
    output_.copy(text_.substr(at_, length));
    at_ += length;
  }

  std::string_view text_;
  const std::vector<DictionaryMatch>& matches_;
  RuleSet rules_;
  const Speller* speller_;
  std::string_view language_;
  bool is_heading_;
  SpokenOutput output_;
  std::size_t at_ = 0;
  std::size_t limit_ = 0; ///< where the dictionary's next word begins
};

} // namespace

std::string scan(std::string_view text, const std::vector<DictionaryMatch>& matches, RuleSet rules,
                 const Speller* speller, const std::string& language, bool is_heading) {
  return Scanner(text, matches, rules, speller, language, is_heading).run();
}

} // namespace audiobookd::jobs
