// Symbols between words and numbers.
#include "jobs/spoken_text/characters.h"
#include "jobs/spoken_text/word_rules.h"
#include "jobs/utf8.h"

#include <string>
#include <unicode/uchar.h>
#include <unordered_map>

namespace audiobookd::jobs {
namespace {

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// Symbols that are said wherever they stand.
const std::unordered_map<UChar32, std::string>& names() {
  static const std::unordered_map<UChar32, std::string> table = {
      {'%', "percent"},
      {U'§', "section"},
      {U'©', "copyright"},
      {U'°', "degrees"},
      {U'±', "plus or minus"},
      {U'×', "times"},
      {U'÷', "divided by"},
      {U'≈', "approximately"},
      {U'≠', "is not equal to"},
      {U'≤', "is at most"},
      {U'≥', "is at least"},
      {U'−', "minus"},
      {U'∞', "infinity"},
      {U'√', "the square root of"},
      {U'$', "dollar"},
      {U'£', "pound"},
      {U'€', "euro"},
      {U'¥', "yen"},
      {U'¢', "cent"},
      {U'¶', "paragraph"},
      {U'‰', "per mille"},
      {U'₹', "rupee"},
      {U'№', "number"},
  };
  return table;
}

/// The neighbours of a symbol of one byte.
struct Neighbours {
  explicit Neighbours(const Spot& spot)
      : before(spot.at > 0 ? spot.text[spot.at - 1] : ' '),
        after(spot.at + 1 < spot.text.size() ? spot.text[spot.at + 1] : ' ') {}
  char before;
  char after;
};

/// What surrounds a symbol between spaces: "5 + 3" has digits, "a = b" letters.
bool stands_between_operands(const Spot& spot) {
  const std::string_view before = spot.before();
  const std::string_view after = spot.after(1);
  const auto at_space = [](std::string_view text, std::size_t index) {
    return index < text.size() ? text[index] : ' ';
  };
  const char left = before.ends_with(' ') ? at_space(before, before.size() - 2) : at_space(before, before.size() - 1);
  const char right = after.starts_with(' ') ? at_space(after, 1) : at_space(after, 0);
  return (is_word_byte(left) || left == ')') && (is_word_byte(right) || right == '(' || right == '-');
}

std::optional<Reading> said(std::string words) { return Reading{1, std::move(words)}; }
std::optional<Reading> left_out() { return Reading{1, ""}; }

/// "x86", "B2": digits behind a letter.
bool ends_with_code(std::string_view text) {
  const std::size_t end = text.find_last_not_of("0123456789");
  return end != std::string_view::npos && end + 1 < text.size() && is_ascii_letter(text[end]);
}

/// "-5", "5-6", but not "well-known".
std::optional<Reading> read_hyphen(const Spot& spot) {
  const Neighbours near(spot);
  if (is_digit(near.before) && is_digit(near.after) && !ends_with_code(spot.before())) {
    return said("to");
  }
  const bool opens = near.before == ' ' || near.before == '(' || near.before == '[' || near.before == '"';
  const bool signs = is_digit(near.after) || near.after == '.' || near.after == '$';
  const bool number = signs && (is_digit(near.after) || begins_with_digit(spot.after(2)));
  return opens && number ? said("minus") : std::nullopt;
}

std::optional<Reading> read_number_sign(const Spot& spot) {
  const Neighbours near(spot);
  if (is_digit(near.after)) {
    return said("number");
  }
  if (near.before >= 'A' && near.before <= 'G' && !is_word_byte(near.after)) {
    return said("sharp"); // C#
  }
  return is_word_byte(near.after) ? said("hashtag") : left_out();
}

/// "he/she", "and/or", "km/h" that was no unit.
std::optional<Reading> read_slash(const Spot& spot) {
  static const std::unordered_map<std::string_view, std::string_view> pairs = {
      {"he", "she"},   {"she", "he"},        {"his", "her"}, {"him", "her"},         {"her", "his"},
      {"his", "hers"}, {"He", "She"},        {"She", "He"},  {"himself", "herself"}, {"His", "Her"},
      {"He", "she"},   {"mother", "father"}, {"yes", "no"}};
  const Neighbours near(spot);
  if (!is_word_byte(near.before) || !is_word_byte(near.after)) {
    return left_out();
  }
  const std::string_view before = spot.before();
  std::size_t begin = before.size();
  while (begin > 0 && before.size() - begin < 10 && is_ascii_letter(before[begin - 1])) {
    --begin;
  }
  const std::string_view left = before.substr(begin);
  const std::string_view right = first_word(spot.after(1));
  if ((left == "and" || left == "And") && right == "or") {
    return said(" ");
  }
  const auto pair = pairs.find(left);
  const bool alternatives = pair != pairs.end() && (pair->second == right || right == "her" || right == "she");
  return alternatives ? said("or") : is_digit(near.before) && is_digit(near.after) ? said("slash") : said(" ");
}

std::optional<Reading> read_operator(const Spot& spot, const char* name) {
  return stands_between_operands(spot) ? said(name) : left_out();
}

std::optional<Reading> read_plus(const Spot& spot) {
  const Neighbours near(spot);
  return stands_between_operands(spot) || is_digit(near.after) || is_word_byte(near.before) ? said("plus") : left_out();
}

std::optional<Reading> read_ampersand(const Spot& spot) {
  if (spot.rest().starts_with("&c.")) {
    return Reading{spot.rest().size() > 3 && !ends_sentence(spot.after(3)) ? 3U : 2U, "et cetera"};
  }
  return said("and");
}

/// A number in brackets right behind a word is a footnote's: "word[12]".
std::optional<Reading> read_bracket(const Spot& spot) {
  const Neighbours near(spot);
  const std::size_t end = spot.rest().substr(0, 6).find(']');
  if ((near.before == ' ' && spot.at > 0) || end == std::string_view::npos || end < 2) {
    return std::nullopt;
  }
  const std::string_view mark = spot.rest().substr(1, end - 1);
  const bool is_mark = mark.find_first_not_of("0123456789") == std::string_view::npos || mark == "*" ||
                       (mark.size() == 1 && mark.front() >= 'a' && mark.front() <= 'z');
  return is_mark ? std::optional(Reading{end + 1, ""}) : std::nullopt;
}

std::optional<Reading> read_ascii_symbol(char c, const Spot& spot) {
  const Neighbours near(spot);
  switch (c) {
  case '-': return read_hyphen(spot);
  case '#': return read_number_sign(spot);
  case '/': return read_slash(spot);
  case '&': return read_ampersand(spot);
  case '[': return read_bracket(spot);
  case '+': return read_plus(spot);
  case '=': return read_operator(spot, "equals");
  case '<': return read_operator(spot, "is less than");
  case '>': return read_operator(spot, "is greater than");
  case '@': return is_word_byte(near.after) || near.after == ' ' ? said("at") : left_out();
  case '~': return is_digit(near.after) ? said("about") : left_out();
  case '*': return is_digit(near.before) && is_digit(near.after) ? said("times") : left_out();
  case '_': return is_word_byte(near.before) && is_word_byte(near.after) ? Reading{1, " "} : Reading{1, ""};
  case '^':
  case '|':
  case '\\':
  case '`':
  case '{':
  case '}': return left_out();
  default: return std::nullopt;
  }
}

/// Superscripts behind a word are footnote marks, behind a single letter a power.
std::optional<Reading> read_superscript(std::size_t length, int digit, const Spot& spot) {
  const std::string_view before = spot.before();
  std::size_t begin = before.size();
  while (begin > 0 && before.size() - begin < 4 && is_word_byte(before[begin - 1])) {
    --begin;
  }
  const std::string_view word = before.substr(begin);
  const bool is_variable = word.size() == 1 || (word.size() < 4 && word.find_first_of("aeiouyAEIOUY") == word.npos);
  const bool is_power = (digit == 2 || digit == 3) && !word.empty() && is_variable && is_ascii_letter(word.back()) &&
                        word != "I" && word != "a" && word != "A";
  return Reading{length, is_power ? (digit == 2 ? "squared" : "cubed") : ""};
}

/// What is only looked at: emoji, ornaments, private characters, daggers of footnotes.
bool is_decoration(UChar32 c) {
  switch (u_charType(c)) {
  case U_OTHER_SYMBOL:
  case U_MODIFIER_SYMBOL:
  case U_MATH_SYMBOL:
  case U_PRIVATE_USE_CHAR:
  case U_UNASSIGNED:
  case U_SURROGATE: return true;
  default: return c == U'†' || c == U'‡' || c == U'•' || c == U'‣' || c == U'※' || c == U'⁂' || c == U'⁎' || c == U'·';
  }
}

/// "3 × 4 m" is a size, "3 × 4 = 12" a product.
bool is_dimension(const Spot& spot, std::size_t length) {
  const std::string_view after = spot.after(length).substr(0, 24);
  return begins_with_digit(after.substr(after.starts_with(' ') ? 1 : 0)) && after.find('=') == std::string_view::npos;
}

} // namespace

std::optional<Reading> read_symbol(const Spot& spot) {
  const std::string_view rest = spot.rest();
  const UChar32 c = first_code_point(rest);
  const std::size_t length = rest.size() - without_first_code_point(rest).size();
  if (length == 1) {
    if (auto reading = read_ascii_symbol(rest.front(), spot)) {
      return reading;
    }
  }
  const bool is_en_dash = (c == U'–' || c == U'‒') && spot.at > 0 && spot.text[spot.at - 1] != ' ';
  const std::string_view behind = spot.after(length);
  if (is_en_dash &&
      (begins_with_digit(behind) || behind.starts_with("$") || behind.starts_with("£") || behind.starts_with("€"))) {
    return Reading{length, "to"};
  }
  const int digit = superscript_digit(static_cast<char32_t>(c));
  if (digit >= 0) {
    return read_superscript(length, digit, spot);
  }
  if (const auto name = names().find(c); name != names().end()) {
    const bool by = c == U'×' && is_dimension(spot, length);
    return Reading{length, by ? "by" : name->second};
  }
  return is_decoration(c) ? std::optional(Reading{length, ""}) : std::nullopt;
}

} // namespace audiobookd::jobs
