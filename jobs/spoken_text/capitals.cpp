// See capitals.h.
#include "jobs/spoken_text/capitals.h"

#include "jobs/spoken_text/word_rules.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <string_view>
#include <unicode/uchar.h>
#include <unordered_set>

namespace audiobookd::jobs {
namespace {

struct CapitalWord {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t letters = 0;
};

/// Words that are written in capitals for emphasis more often than as names of letters.
bool is_common_word(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {
      "ABOUT",   "AFTER", "AGAIN",  "ALL",   "ALWAYS", "AND",    "ANY",   "ARE",     "AWAY",  "BACK",   "BE",
      "BECAUSE", "BEEN",  "BEFORE", "BUT",   "BY",     "CAME",   "CAN",   "CHAPTER", "COME",  "COULD",  "DARK",
      "DAY",     "DID",   "DO",     "DON'T", "DON’T",  "DOWN",   "EVER",  "EVERY",   "FIRE",  "FIRST",  "FOR",
      "FROM",    "GET",   "GO",     "GOD",   "GOOD",   "HAD",    "HAS",   "HAVE",    "HE",    "HELP",   "HER",
      "HERE",    "HIM",   "HIS",    "HOW",   "IF",     "IN",     "INTO",  "IS",      "IT'S",  "IT’S",   "JUST",
      "KNOW",    "LAST",  "LET",    "LIKE",  "LITTLE", "LONG",   "LOOK",  "MADE",    "MAN",   "MANY",   "ME",
      "MORE",    "MUST",  "MY",     "NEVER", "NEW",    "NO",     "NOT",   "NOTHING", "NOW",   "OF",     "OFF",
      "OLD",     "ON",    "ONCE",   "ONE",   "ONLY",   "OR",     "OUR",   "OUT",     "OVER",  "PLEASE", "REALLY",
      "RUN",     "SAID",  "SAY",    "SEE",   "SHE",    "SHOULD", "SO",    "SOME",    "STAY",  "STOP",   "TELL",
      "THAN",    "THAT",  "THE",    "THEIR", "THEM",   "THEN",   "THERE", "THESE",   "THEY",  "THING",  "THIS",
      "THREE",   "TIME",  "TO",     "TOO",   "TWO",    "UP",     "UPON",  "VERY",    "WAIT",  "WAS",    "WAY",
      "WE",      "WELL",  "WENT",   "WERE",  "WHAT",   "WHEN",   "WHERE", "WHICH",   "WHILE", "WHY",    "WILL",
      "WITH",    "WOULD", "YES",    "YOU",   "YOUR"};
  return words.contains(word);
}

/// Names of letters that have a vowel, so that they look like words.
bool is_known_acronym(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {
      "AA",   "ABC", "ACLU", "AI",     "AIDS",   "AKA", "AM",   "API",   "ASAP", "ATM",   "AWOL", "BASIC", "BA",
      "BCE",  "BMI", "CE",   "CEO",    "CFO",    "CIA", "COO",  "COVID", "CPU",  "DEA",   "DIY",  "DNA",   "DOA",
      "DOJ",  "DUI", "EEG",  "EKG",    "EPA",    "ER",  "ESA",  "ESP",   "ESPN", "ETA",   "EU",   "EUR",   "FAA",
      "FAQ",  "FBI", "FDA",  "FEMA",   "FIFA",   "GE",  "GI",   "GOP",   "GPA",  "GUI",   "HBO",  "HIV",   "IBM",
      "ICU",  "ID",  "IOU",  "IPA",    "IPO",    "IQ",  "IRA",  "IRS",   "ISBN", "ISO",   "IT",   "ITV",   "IV",
      "LAPD", "LA",  "LED",  "LOL",    "MA",     "MI",  "MIA",  "MIT",   "MRI",  "NAACP", "NASA", "NATO",  "NBA",
      "NFL",  "NSA", "NYPD", "OCD",    "OK",     "OMG", "OPEC", "PA",    "PE",   "PIN",   "POW",  "PTA",   "RAF",
      "RAM",  "RIP", "RNA",  "ROM",    "RSVP",   "SAS", "SAT",  "SEAL",  "SOS",  "SUV",   "SWAT", "TNT",   "UCLA",
      "UFO",  "UK",  "UN",   "UNESCO", "UNICEF", "UPS", "URL",  "US",    "USA",  "USB",   "USSR", "VIP",   "WHO",
      "YMCA", "ZIP", "AT",   "AC",     "DC",     "CNN", "CBS",  "NBC",   "RCA"};
  return words.contains(word);
}

bool has_vowel(std::string_view word) { return word.find_first_of("AEIOUY") != std::string_view::npos; }

bool is_ascii(std::string_view word) {
  return std::all_of(word.begin(), word.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

/// Whether the word keeps its capitals among shouted ones.
bool keeps_capitals(std::string_view word) {
  static const std::unordered_set<std::string_view> abbreviations = {"MR", "MRS", "DR", "ST"};
  if (is_common_word(word) || word == "AM" || word == "IT" || word == "WHO" || word == "AT" || word == "A" ||
      word == "US" || abbreviations.contains(word)) {
    return false;
  }
  const bool small_numeral = word.find_first_not_of("IVXL") == std::string_view::npos && roman_value(word) > 0;
  const bool year = roman_value(word) >= 1500 && word.size() >= 4;
  return word == "I" || year || word.starts_with("I'") || word.starts_with("I’") || is_known_acronym(word) ||
         small_numeral || (is_ascii(word) && !has_vowel(word));
}

bool is_apostrophe(UChar32 c) { return c == '\'' || c == 0x2019; }

/// The words of a text: runs of letters with apostrophes inside, whether they are in capitals, and whether there are
/// small letters.
class WordReader {
public:
  explicit WordReader(std::string_view text) : text_(text) {
    for_each_code_point(text, [&](UChar32 c, std::size_t begin, std::size_t end) { pass(c, begin, end); });
    finish_word();
    finish_run();
  }

  std::vector<std::vector<CapitalWord>> runs; ///< of words in capitals, with nothing but punctuation between
  bool has_small = false;                     ///< a word that is not in capitals

private:
  void pass(UChar32 c, std::size_t begin, std::size_t end) {
    if (u_isalpha(c)) {
      word_.begin = word_.letters == 0 ? begin : word_.begin;
      word_.end = end;
      ++word_.letters;
      small_ = small_ || !u_isupper(c);
    } else if (!is_apostrophe(c) || word_.letters == 0 || !u_isalpha(first_code_point(text_.substr(end)))) {
      glued_ = glued_ || ((u_isdigit(c) || c == '.' || c == '&' || c == '@') && is_glue(c, begin, end));
      finish_word();
    }
  }
  /// Digits and points inside of words: "B2B", "U.S.", "EXAMPLE.COM".
  bool is_glue(UChar32 c, std::size_t begin, std::size_t end) const {
    const bool letter_after = u_isalpha(first_code_point(text_.substr(end))) != 0;
    const bool letter_before = begin > 0 && u_isalpha(last_code_point(text_.substr(0, begin)));
    const bool initial = c == '.' && letter_before && word_.letters == 1;
    return (letter_before && letter_after) || initial || (u_isdigit(c) && letter_before);
  }
  void finish_word() {
    if (word_.letters > 0 && !glued_) {
      if (small_) {
        has_small = true;
        finish_run();
      } else {
        run_.push_back(word_);
      }
    }
    word_ = {};
    small_ = false;
    glued_ = false;
  }
  void finish_run() {
    if (!run_.empty()) {
      runs.push_back(std::move(run_));
    }
    run_.clear();
  }

  std::string_view text_;
  CapitalWord word_;
  std::vector<CapitalWord> run_;
  bool small_ = false;
  bool glued_ = false;
};

/// Whether a run of words in capitals is shouted rather than spelled.
bool is_shouted(std::string_view text, const std::vector<CapitalWord>& run, bool text_has_small) {
  std::size_t common = 0;
  std::size_t wordlike = 0;
  std::size_t letters = 0;
  for (const CapitalWord& word : run) {
    const std::string_view written = text.substr(word.begin, word.end - word.begin);
    common += is_common_word(written) ? 1 : 0;
    const bool like_word = word.letters > 1 && !keeps_capitals(written);
    wordlike += like_word ? 1 : 0;
    letters += like_word ? word.letters : 0;
  }
  return common > 0 || wordlike >= 3 || (!text_has_small && letters >= 5);
}

/// Whether a sentence begins at @p begin.
bool begins_sentence(std::string_view text, std::size_t begin) {
  static constexpr std::u32string_view openers = U"\"'“‘«([—";
  std::string_view before = text.substr(0, begin);
  bool quoted = false;
  while (!before.empty()) {
    const UChar32 c = last_code_point(before);
    if (u_isUWhiteSpace(c)) {
      if (quoted) {
        return true;
      }
    } else if (openers.find(static_cast<char32_t>(c)) != std::u32string_view::npos) {
      quoted = c != '(' && c != '[';
    } else {
      return c == '.' || c == '!' || c == '?' || c == U'…' || c == U'”';
    }
    before = without_last_code_point(before);
  }
  return true;
}

/// Small letters from @p begin to @p end, as far as they take the same room.
void lower(std::string& text, std::size_t begin, std::size_t end) {
  std::string small;
  for_each_code_point(std::string_view(text).substr(begin, end - begin),
                      [&](UChar32 c, std::size_t first, std::size_t last) {
                        const UChar32 lowered = u_tolower(c);
                        append_code_point(small, U8_LENGTH(lowered) == static_cast<int>(last - first) ? lowered : c);
                      });
  text.replace(begin, end - begin, small);
}

} // namespace

void calm_capitals(std::string& text, const std::vector<std::pair<std::size_t, std::size_t>>& kept) {
  const WordReader words(text);
  const auto is_kept = [&](const CapitalWord& word) {
    const auto at = std::upper_bound(kept.begin(), kept.end(), word.begin,
                                     [](std::size_t begin, const auto& place) { return begin < place.second; });
    return at != kept.end() && at->first < word.end;
  };
  for (const auto& run : words.runs) {
    if (!is_shouted(text, run, words.has_small)) {
      continue;
    }
    for (const CapitalWord& word : run) {
      const std::string_view written = std::string_view(text).substr(word.begin, word.end - word.begin);
      if (keeps_capitals(written) || is_kept(word)) {
        continue;
      }
      const std::size_t first = word.begin + U8_LENGTH(first_code_point(written));
      lower(text, begins_sentence(text, word.begin) ? first : word.begin, word.end);
    }
  }
}

} // namespace audiobookd::jobs
