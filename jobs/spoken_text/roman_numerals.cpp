// Roman numerals.
#include "jobs/spoken_text/word_rules.h"

#include <array>
#include <string>
#include <unordered_set>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr std::array<std::pair<int, std::string_view>, 13> symbols = {{{1000, "M"},
                                                                       {900, "CM"},
                                                                       {500, "D"},
                                                                       {400, "CD"},
                                                                       {100, "C"},
                                                                       {90, "XC"},
                                                                       {50, "L"},
                                                                       {40, "XL"},
                                                                       {10, "X"},
                                                                       {9, "IX"},
                                                                       {5, "V"},
                                                                       {4, "IV"},
                                                                       {1, "I"}}};

std::string upper_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return result;
}

/// Divisions of books and other things that are numbered, in capitals.
bool is_numbered_thing(const std::string& word) {
  static const std::unordered_set<std::string> words = {
      "ACT",   "APPENDIX", "APPENDICES", "ARTICLE", "BOOK",    "BOWL",    "CANTO", "CHAPTER", "CHAPTERS",
      "CLASS", "EPISODE",  "FIGURE",     "NUMBER",  "OPUS",    "PAGE",    "PAGES", "PART",    "PARTS",
      "PHASE", "PLATE",    "PSALM",      "SCENE",   "SEASON",  "SECTION", "STAGE", "SONNET",  "SYMPHONY",
      "TABLE", "TITLE",    "TYPE",       "VOLUME",  "VOLUMES", "WAR",     "VOL",   "VOLS",    "CH",
      "CHAP",  "FIG",      "NO",         "NOS",     "OP",      "SEC",     "ART",   "P",       "PP"};
  return words.contains(word);
}

bool is_ruler_title(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {"King", "Queen",   "Pope",   "Emperor", "Empress",
                                                             "Tsar", "Czar",    "Kaiser", "Sultan",  "Prince",
                                                             "Shah", "Pharaoh", "Duke",   "Antipope"};
  return words.contains(word);
}

bool is_ruler_name(std::string_view word) {
  static const std::unordered_set<std::string_view> names = {
      "Adolf",      "Albert",    "Alexander", "Alexios",    "Alfonso",     "Amenhotep", "Andrew",    "Antiochus",
      "Artaxerxes", "Baldwin",   "Benedict",  "Boniface",   "Carlos",      "Casimir",   "Catherine", "Celestine",
      "Charles",    "Christian", "Clement",   "Conrad",     "Constantine", "Cyrus",     "Darius",    "David",
      "Edward",     "Elizabeth", "Ferdinand", "Francis",    "Franz",       "Frederick", "Friedrich", "George",
      "Gregory",    "Gustav",    "Gustavus",  "Haakon",     "Harald",      "Henri",     "Henry",     "Humbert",
      "Innocent",   "Isabella",  "Ivan",      "James",      "João",        "Joseph",    "Juan",      "Julius",
      "Justinian",  "Kenneth",   "Leo",       "Leopold",    "Louis",       "Ludwig",    "Malcolm",   "Margaret",
      "Margrethe",  "Maria",     "Mary",      "Maximilian", "Mehmed",      "Murad",     "Napoleon",  "Nicholas",
      "Olaf",       "Oscar",     "Otto",      "Paul",       "Pedro",       "Peter",     "Philip",    "Philippe",
      "Pius",       "Ptolemy",   "Ramesses",  "Ramses",     "Richard",     "Robert",    "Rudolf",    "Seti",
      "Sigismund",  "Sixtus",    "Stephen",   "Suleiman",   "Theodosius",  "Thutmose",  "Tiberius",  "Tutankhamun",
      "Umberto",    "Urban",     "Victor",    "Emmanuel",   "Wilhelm",     "William",   "Xerxes"};
  return names.contains(word);
}

/// Behind "Charles I" these go on about the king; behind "Charles, I" others do.
bool goes_on_about_ruler(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {"of",     "and",     "was",   "is",      "who",     "died",
                                                             "became", "reigned", "ruled", "himself", "herself", "in"};
  return words.contains(word);
}

/// The word before the previous one.
std::string_view word_before(std::string_view before, std::string_view previous) {
  return previous_word(before.substr(0, before.size() - previous.size() - 1));
}

bool is_mark_or_end(std::string_view after) {
  return after.empty() || (after.front() != ' ' && after.front() != '-' && !is_word_byte(after.front())) ||
         after.starts_with("’s") || after.starts_with("—") || after.starts_with("–") || after.starts_with("”");
}

/// "IX", "IX. The Return", "IX The Return", as a heading.
bool is_number_of_heading(std::string_view numeral, const Spot& spot) {
  const std::string_view after = spot.after(numeral.size());
  const bool small = numeral.find_first_not_of("IVXL") == std::string_view::npos;
  const bool apart =
      is_mark_or_end(after) || after.starts_with(" —") || after.starts_with(" –") || after.starts_with(" -");
  return spot.is_heading && spot.at == 0 && (apart ? !after.starts_with("'") : numeral.size() > 1 && small);
}

/// The previous word, also if it is abbreviated: "Vol. ".
std::string_view previous_thing(std::string_view before) {
  if (!before.ends_with(". ")) {
    return previous_word(before);
  }
  constexpr std::size_t longest_abbreviation = 4;
  const std::string_view word = before.substr(0, before.size() - 2);
  std::size_t begin = word.size();
  while (begin > 0 && word.size() - begin < longest_abbreviation && is_word_byte(word[begin - 1])) {
    --begin;
  }
  const bool whole = begin == 0 || !is_word_byte(word[begin - 1]);
  return whole ? word.substr(begin) : std::string_view();
}

bool numbers_a_thing(std::string_view numeral, const Spot& spot, std::string_view previous) {
  if (!is_numbered_thing(upper_case(previous))) {
    return false;
  }
  const std::string_view after = spot.after(numeral.size());
  if (numeral != "I") {
    return true;
  }
  const bool world_war = previous == "War" && word_before(spot.before(), previous) == "World";
  return spot.is_heading || world_war || is_mark_or_end(after) || begins_with_capital(next_word(after)) ||
         next_word(after) == "of";
}

bool numbers_a_ruler(std::string_view numeral, const Spot& spot, std::string_view previous) {
  const std::string_view after = spot.after(numeral.size());
  const bool titled = begins_with_capital(previous) && is_ruler_title(word_before(spot.before(), previous));
  if (!titled && !is_ruler_name(previous)) {
    return false;
  }
  if (previous == "Malcolm" && numeral == "X") {
    return false;
  }
  return numeral != "I" || titled || is_mark_or_end(after) || goes_on_about_ruler(next_word(after));
}

/// Whether @p numeral is how @p value is properly written.
bool is_written_as(int value, std::string_view numeral) noexcept {
  for (const auto& [worth, symbol] : symbols) {
    for (; value >= worth; value -= worth) {
      if (!numeral.starts_with(symbol)) {
        return false;
      }
      numeral.remove_prefix(symbol.size());
    }
  }
  return numeral.empty();
}

/// "Charles II. was": a full stop that ends no sentence. Its length.
std::size_t old_stop(std::string_view after) {
  const bool goes_on = after.size() > 2 && after.starts_with(". ") && after[2] >= 'a' && after[2] <= 'z';
  return goes_on ? 1 : 0;
}

} // namespace

int roman_value(std::string_view numeral) noexcept {
  int value = 0;
  std::string_view rest = numeral;
  for (const auto& [worth, symbol] : symbols) {
    for (; rest.starts_with(symbol) && value < 4000; value += worth) {
      rest.remove_prefix(symbol.size());
    }
  }
  const bool proper = rest.empty() && value < 4000 && is_written_as(value, numeral);
  return proper ? value : 0;
}

std::optional<Reading> read_roman_numeral(std::string_view word, const Spot& spot) {
  constexpr std::size_t longest = 15; // MMMDCCCLXXXVIII
  if (word.size() > longest || word.find_first_not_of("IVXLCDMivxl") != std::string_view::npos) {
    return std::nullopt;
  }
  const bool lower = word.front() >= 'a';
  const std::string numeral = upper_case(word);
  const int value = roman_value(numeral);
  if (value == 0 || (lower ? word.find_first_of("IVXLCDM") : word.find_first_of("ivxl")) != std::string_view::npos) {
    return std::nullopt;
  }
  const Speller& speller = spot.speller;
  const std::string_view previous = previous_word(spot.before());
  if (numbers_a_thing(numeral, spot, previous_thing(spot.before())) ||
      (!lower && is_number_of_heading(numeral, spot))) {
    return Reading{word.size() + old_stop(spot.after(word.size())), speller.cardinal(value)};
  }
  if (lower) {
    return std::nullopt;
  }
  const bool small = numeral.find_first_not_of("IVX") == std::string::npos;
  if (small && !previous.empty() && numbers_a_ruler(numeral, spot, previous)) {
    return Reading{word.size() + old_stop(spot.after(word.size())), "the " + speller.ordinal(value)};
  }
  constexpr int first_printed_year = 1500;
  if (numeral.size() >= 4 && value >= first_printed_year && value < 2100) {
    return Reading{word.size(), speller.year(value)};
  }
  const bool of_name = begins_with_capital(previous) && !is_function_word(previous);
  if (small && numeral.size() > 1 && of_name) {
    return Reading{word.size(), speller.cardinal(value)};
  }
  return std::nullopt;
}

} // namespace audiobookd::jobs
