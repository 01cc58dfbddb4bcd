// Dates, times of day and telephone numbers.
#include "jobs/spoken_text/number_rules.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>

namespace audiobookd::jobs {
namespace {

const std::string months_pattern =
    R"((January|February|March|April|May|June|July|August|September|October|November|December)"
    R"(|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec))";

constexpr std::array<std::string_view, 12> months = {"January",   "February", "March",    "April",
                                                     "May",       "June",     "July",     "August",
                                                     "September", "October",  "November", "December"};

std::string_view month_name(std::string_view written) {
  for (const std::string_view month : months) {
    if (written.substr(0, 3) == month.substr(0, 3)) {
      return month;
    }
  }
  return written;
}

bool is_day(std::int64_t value) { return value >= 1 && value <= 31; }
bool is_month(std::int64_t value) { return value >= 1 && value <= 12; }

std::string year_words(const Speller& speller, std::string_view written) {
  const std::int64_t value = value_of(written);
  return written.size() == 4 && value >= 1010 ? speller.year(value) : speller.integer(written);
}

/// A date of which the order was decided: as people in the country say it.
std::string date_words(const Speller& speller, std::int64_t day, std::string_view month, const std::string& year) {
  if (speller.is_british()) {
    return "the " + speller.ordinal(day) + " of " + std::string(month) + (year.empty() ? "" : " " + year);
  }
  return std::string(month) + " " + speller.ordinal(day) + (year.empty() ? "" : ", " + year);
}

std::optional<Reading> read_iso_date(const Match& match, const Spot& spot) {
  const std::int64_t month = value_of(match[2]);
  const std::int64_t day = value_of(match[3]);
  if (!is_month(month) || !is_day(day)) {
    return std::nullopt;
  }
  const auto name = months.at(static_cast<std::size_t>(month - 1));
  const bool has_time =
      spot.after(match.length()).starts_with("T") && begins_with_digit(spot.after(match.length() + 1));
  return Reading{match.length() + (has_time ? 1 : 0),
                 date_words(spot.speller, day, name, year_words(spot.speller, match[1])) + (has_time ? ", " : "")};
}

/// "12/25/2020", "12.3.1912". Where only one order makes a date, it is that; else that of the country, and with points
/// the day is first.
std::optional<Reading> read_numeric_date(const Match& match, const Spot& spot) {
  std::int64_t day = value_of(match[3]);
  std::int64_t month = value_of(match[1]);
  const bool day_first = match[2] == "." || spot.speller.is_british();
  if ((day_first && is_month(day) && is_day(month)) || !is_month(month)) {
    std::swap(day, month);
  }
  const bool is_version = match[2] == "." && match[5].size() == 2;
  if (!is_month(month) || !is_day(day) || match[2] != match[4] || is_version) {
    return std::nullopt;
  }
  return Reading{match.length(), date_words(spot.speller, day, months.at(static_cast<std::size_t>(month - 1)),
                                            year_words(spot.speller, match[5]))};
}

/// "3 March 1912", "1st of May", "3–5 May". Groups: day, last day, month, year.
std::optional<Reading> read_day_month(const Match& match, const Spot& spot) {
  const std::string_view after = spot.after(match.length());
  if (!is_day(value_of(match[1])) || (!match[2].empty() && !is_day(value_of(match[2])))) {
    return std::nullopt;
  }
  if (!after.empty() && is_word_byte(after.front()) && !after.starts_with("–") && !after.starts_with("—") &&
      !after.starts_with("’") && !after.starts_with("”") && !after.starts_with("…")) {
    return std::nullopt; // "5 Marches"
  }
  const bool ends_with_stop = match[0].ends_with('.');
  const bool stop_is_sentence_end = ends_with_stop && (match[3] == month_name(match[3]) || ends_sentence(after));
  const std::string_view previous = previous_word(spot.before());
  std::string spoken = previous == "the" || previous == "The" ? "" : "the ";
  spoken += spot.speller.ordinal(value_of(match[1]));
  spoken += match[2].empty() ? "" : " to the " + spot.speller.ordinal(value_of(match[2]));
  spoken += " of " + std::string(month_name(match[3]));
  spoken += match[4].empty() ? "" : " " + year_words(spot.speller, match[4]);
  return Reading{match.length() - (stop_is_sentence_end ? 1 : 0), spoken};
}

/// "March 3, 1912", "Sept. 5–7". Groups: month, day, last day, year.
std::optional<Reading> read_month_day(const Match& match, const Spot& spot) {
  const std::string_view after = spot.after(match.length());
  const bool goes_on = !after.empty() &&
                       (after.front() == ':' || after.front() == '.' || after.front() == ',' || after.front() == '/') &&
                       begins_with_digit(after.substr(1));
  const bool is_amount = after.starts_with("%") || after.starts_with("°");
  if (!is_day(value_of(match[2])) || goes_on || is_amount || (!match[3].empty() && !is_day(value_of(match[3])))) {
    return std::nullopt;
  }
  const std::string the = spot.speller.is_british() ? "the " : "";
  std::string spoken = std::string(month_name(match[1])) + " " + the + spot.speller.ordinal(value_of(match[2]));
  spoken += match[3].empty() ? "" : " to " + the + spot.speller.ordinal(value_of(match[3]));
  spoken += match[4].empty() ? "" : ", " + year_words(spot.speller, match[4]);
  return Reading{match.length(), spoken};
}

/// "Sept. 1912". Groups: month, year.
std::optional<Reading> read_month_year(const Match& match, const Spot& spot) {
  return Reading{match.length(), std::string(month_name(match[1])) + " " + year_words(spot.speller, match[2])};
}

/// "30", "05": minutes behind the hour.
std::string minute_words(const Speller& speller, std::string_view written) {
  const std::int64_t value = value_of(written, 0);
  return value >= 10 ? speller.cardinal(value) : value == 0 ? "" : "oh " + speller.cardinal(value);
}

/// "a.m.", as it was written after the time; "" if it was not. @p taken grows by a full stop that belongs to it.
std::string half_of_day(std::string_view letter, std::string_view after, bool dotted, std::size_t& taken) {
  if (letter.empty()) {
    return "";
  }
  taken += !dotted && after.starts_with(".") ? 1 : 0;
  return letter == "a" || letter == "A" ? " a.m." : " p.m.";
}

bool is_bible_book(std::string_view word) {
  static const std::array<std::string_view, 38> books = {
      "Genesis",   "Exodus",       "Leviticus",  "Numbers",  "Deuteronomy", "Joshua",    "Judges", "Ruth",
      "Samuel",    "Kings",        "Chronicles", "Ezra",     "Esther",      "Job",       "Psalm",  "Psalms",
      "Proverbs",  "Ecclesiastes", "Isaiah",     "Jeremiah", "Ezekiel",     "Daniel",    "Hosea",  "Amos",
      "Micah",     "Matthew",      "Mark",       "Luke",     "John",        "Acts",      "Romans", "Corinthians",
      "Galatians", "Ephesians",    "Timothy",    "Hebrews",  "James",       "Revelation"};
  return std::find(books.begin(), books.end(), word) != books.end();
}

/// "9:30", "17:05:09 ", "5:00 p.m.". Groups: hour, minute, second, a or p, dot.
std::optional<Reading> read_clock(const Match& match, const Spot& spot) {
  const std::int64_t hour = value_of(match[1]);
  const std::string_view after = spot.after(match.length());
  if (hour > 24 || (after.starts_with(":") && begins_with_digit(after.substr(1)))) {
    return std::nullopt;
  }
  const Speller& speller = spot.speller;
  std::size_t length = match.length();
  const std::string half = half_of_day(match[4], after, !match[5].empty(), length);
  if (is_bible_book(previous_word(spot.before()))) {
    return Reading{length, speller.cardinal(hour) + " " + speller.cardinal(value_of(match[2]))};
  }
  const bool full_hour = value_of(match[2]) == 0 && match[3].empty();
  std::string spoken = match[1].size() == 2 && match[1].front() == '0' && half.empty() && hour > 0
                           ? "oh " + speller.cardinal(hour)
                           : speller.cardinal(hour);
  if (full_hour && half.empty()) {
    const bool said = after.starts_with(" o'clock") || after.starts_with(" o’clock");
    return Reading{length, hour == 0   ? "midnight"
                           : hour > 12 ? spoken + " hundred"
                           : said      ? spoken
                                       : spoken + " o'clock"};
  }
  const std::string minutes = minute_words(speller, match[2]);
  spoken += minutes.empty() ? "" : " " + minutes;
  if (!match[3].empty()) {
    const std::int64_t seconds = value_of(match[3]);
    spoken += " and " + speller.cardinal(seconds) + (seconds == 1 ? " second" : " seconds");
  }
  return Reading{length, spoken + half};
}

/// "3:1", "16:9". Groups: both sides.
std::optional<Reading> read_ratio(const Match& match, const Spot& spot) {
  const bool verse = is_bible_book(previous_word(spot.before()));
  return Reading{match.length(),
                 spot.speller.integer(match[1]) + (verse ? " " : " to ") + spot.speller.integer(match[2])};
}

/// "5 p.m.", "9.30am". Groups: hour, minute, a or p, dot.
std::optional<Reading> read_half_day_hour(const Match& match, const Spot& spot) {
  const std::int64_t hour = value_of(match[1]);
  if (hour > 12) {
    return std::nullopt;
  }
  std::size_t length = match.length();
  const std::string half = half_of_day(match[3], spot.after(length), !match[4].empty(), length);
  const std::string minutes = minute_words(spot.speller, match[2]);
  return Reading{length, spot.speller.cardinal(hour) + (minutes.empty() ? "" : " " + minutes) + half};
}

/// "1:2:3".
std::optional<Reading> read_ratios(const Match& match, const Spot& spot) {
  std::string spoken;
  std::string_view rest = match[0];
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    spoken += (spoken.empty() ? "" : " to ") + spot.speller.integer(rest.substr(0, colon));
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return Reading{match.length(), spoken};
}

/// The beginning of "1-800-FLOWERS". Groups: the digits.
std::optional<Reading> read_letters_number(const Match& match, const Spot& spot) {
  return Reading{match[1].size(), spot.speller.digits(match[1])};
}

/// "call 911".
std::optional<Reading> read_emergency_number(const Match& match, const Spot& spot) {
  static const std::unordered_set<std::string_view> calls = {"call",   "Call",    "called",  "calling", "dial",  "Dial",
                                                             "dialed", "dialled", "dialing", "phone",   "phoned"};
  return calls.contains(previous_word(spot.before()))
             ? std::optional(Reading{match.length(), spot.speller.digits(match[0])})
             : std::nullopt;
}

std::optional<Reading> read_telephone(const Match& match, const Spot& spot) {
  const std::string_view after = spot.after(match.length());
  if (after.starts_with("-") && begins_with_digit(after.substr(1))) {
    return std::nullopt;
  }
  return Reading{match.length(), (match[0].front() == '+' ? "plus " : "") + spot.speller.digits(match[0])};
}

const RuleTable& date_and_time_rules() {
  const std::string day = R"((\d{1,2})(?:st|nd|rd|th)?)";
  static const RuleTable table({
      {R"(\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]\d{2,6}){2,5}\b)", read_telephone},
      {R"(\(\d{3}\) ?\d{3}[-. ]\d{4}\b)", read_telephone},
      {R"((?:\+?1[-. ])?\d{3}[-. ]\d{3}[-. ]\d{4}\b)", read_telephone},
      {R"([2-9]\d\d-\d{4}\b)", read_telephone},
      {R"(0\d{2,4} \d{3,4} \d{3,4}\b)", read_telephone},
      {R"((1-[89]\d\d-)[A-Z])", read_letters_number},
      {R"(\d{3}\b)", read_emergency_number},
      {R"((\d{4})-(\d\d)-(\d\d))", read_iso_date},
      {R"(\d+(?:-\d+){3,}\b)", read_telephone},
      {R"((\d{1,2})([/.])(\d{1,2})([/.])(\d{4}|\d\d)\b)", read_numeric_date},
      {day + "(?:[–-]" + day + ")?(?: of)? " + months_pattern + R"(\b\.?(?:,? (\d{4})\b)?)", read_day_month},
      {R"((\d{1,2}):([0-5]\d)(?::([0-5]\d))?(?: ?([AaPp])(?:[Mm]\b|(\.) ?[Mm]\.)|\b))", read_clock},
      {R"(\d{1,4}(?::\d{1,4}){2,}\b)", read_ratios},
      {R"((\d{1,4}):(\d{1,4})\b)", read_ratio},
      {R"((\d{1,2})(?:[.]([0-5]\d))? ?([AaPp])(?:[Mm]\b|(\.) ?[Mm]\.))", read_half_day_hour},
  });
  return table;
}

const RuleTable& month_rules() {
  static const RuleTable table({
      {months_pattern + R"(\.? (\d{1,2})(?:st|nd|rd|th)?(?:[–-](\d{1,2})(?:st|nd|rd|th)?)?\b(?:,? (\d{4})\b)?)",
       read_month_day},
      {months_pattern + R"(\.?,? (1\d{3}|20\d\d)\b)", read_month_year},
  });
  return table;
}

} // namespace

std::optional<Reading> read_date_or_time(const Spot& spot) { return date_and_time_rules().read(spot); }

std::optional<Reading> read_month(const Spot& spot) { return month_rules().read(spot); }

} // namespace audiobookd::jobs
