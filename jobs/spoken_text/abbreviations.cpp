// Abbreviations.
#include "jobs/spoken_text/number_rules.h"
#include "jobs/spoken_text/word_rules.h"

#include <string>
#include <unordered_map>
#include <unordered_set>

namespace audiobookd::jobs {
namespace {

/// Where an abbreviation stands for something.
enum class Place {
  before_name,      ///< "Dr. Watson"; also without the full stop
  before_name_stop, ///< "Gen. Lee", not "Gen Z"
  before_number,    ///< "p. 5"
  anywhere,         ///< "etc."; also without the full stop, which may end the sentence as well
  leaning,          ///< "vs."; also without the full stop; something always follows
  leaning_stop,     ///< "cf."; not without it
  after_name,       ///< "King Jr.", "Elm Ave."; not at the beginning
};

struct Abbreviation {
  std::string spoken;
  Place place;
};

const std::unordered_map<std::string_view, Abbreviation>& abbreviations() {
  using enum Place;
  static const std::unordered_map<std::string_view, Abbreviation> table = {
      {"Mr", {"Mister", before_name}},
      {"Mrs", {"Missus", before_name}},
      {"Messrs", {"Messieurs", before_name}},
      {"MR", {"Mister", before_name}},
      {"MRS", {"Missus", before_name}},
      {"Prof", {"Professor", before_name}},
      {"Capt", {"Captain", before_name}},
      {"Sgt", {"Sergeant", before_name}},
      {"Lt", {"Lieutenant", before_name}},
      {"Cpl", {"Corporal", before_name}},
      {"Pvt", {"Private", before_name_stop}},
      {"Col", {"Colonel", before_name_stop}},
      {"Gen", {"General", before_name_stop}},
      {"Maj", {"Major", before_name_stop}},
      {"Adm", {"Admiral", before_name_stop}},
      {"Cmdr", {"Commander", before_name}},
      {"Rev", {"Reverend", before_name_stop}},
      {"Revd", {"Reverend", before_name}},
      {"Hon", {"Honorable", before_name_stop}},
      {"Gov", {"Governor", before_name_stop}},
      {"Sen", {"Senator", before_name_stop}},
      {"Rep", {"Representative", before_name_stop}},
      {"Pres", {"President", before_name_stop}},
      {"Supt", {"Superintendent", before_name}},
      {"Insp", {"Inspector", before_name_stop}},
      {"Msgr", {"Monsignor", before_name}},
      {"Fr", {"Father", before_name_stop}},
      {"Ste", {"Sainte", before_name_stop}},
      {"Mt", {"Mount", before_name}},
      {"Ft", {"Fort", before_name_stop}},
      {"Mme", {"Madame", before_name}},
      {"Mlle", {"Mademoiselle", before_name}},
      {"No", {"number", before_number}},
      {"no", {"number", before_number}},
      {"Nos", {"numbers", before_number}},
      {"nos", {"numbers", before_number}},
      {"p", {"page", before_number}},
      {"pp", {"pages", before_number}},
      {"vol", {"volume", before_number}},
      {"Vol", {"Volume", before_number}},
      {"vols", {"volumes", before_number}},
      {"Vols", {"Volumes", before_number}},
      {"ch", {"chapter", before_number}},
      {"Ch", {"Chapter", before_number}},
      {"chap", {"chapter", before_number}},
      {"Chap", {"Chapter", before_number}},
      {"fig", {"figure", before_number}},
      {"Fig", {"Figure", before_number}},
      {"figs", {"figures", before_number}},
      {"Figs", {"Figures", before_number}},
      {"sec", {"section", before_number}},
      {"Sec", {"Section", before_number}},
      {"art", {"article", before_number}},
      {"Art", {"Article", before_number}},
      {"op", {"opus", before_number}},
      {"Op", {"Opus", before_number}},
      {"b", {"born", before_number}},
      {"d", {"died", before_number}},
      {"Tel", {"Telephone", before_number}},
      {"tel", {"telephone", before_number}},
      {"c", {"circa", before_number}},
      {"ca", {"circa", before_number}},
      {"vs", {"versus", leaning}},
      {"etc", {"et cetera", anywhere}},
      {"viz", {"namely", leaning_stop}},
      {"cf", {"compare", leaning_stop}},
      {"approx", {"approximately", leaning_stop}},
      {"Approx", {"Approximately", leaning_stop}},
      {"Dept", {"Department", leaning}},
      {"dept", {"department", leaning_stop}},
      {"Govt", {"Government", anywhere}},
      {"govt", {"government", anywhere}},
      {"Assn", {"Association", anywhere}},
      {"Univ", {"University", leaning_stop}},
      {"misc", {"miscellaneous", leaning_stop}},
      {"Jr", {"Junior", after_name}},
      {"Sr", {"Senior", after_name}},
      {"Inc", {"Incorporated", after_name}},
      {"Ltd", {"Limited", after_name}},
      {"Corp", {"Corporation", after_name}},
      {"Bros", {"Brothers", after_name}},
      {"Co", {"Company", after_name}},
      {"Ave", {"Avenue", after_name}},
      {"Blvd", {"Boulevard", after_name}},
      {"Rd", {"Road", after_name}},
      {"Hwy", {"Highway", after_name}},
      {"Mon", {"Monday", before_number}},
      {"Tue", {"Tuesday", before_number}},
      {"Tues", {"Tuesday", before_number}},
      {"Wed", {"Wednesday", before_number}},
      {"Thu", {"Thursday", before_number}},
      {"Thur", {"Thursday", before_number}},
      {"Thurs", {"Thursday", before_number}},
      {"Fri", {"Friday", before_number}},
      {"Sat", {"Saturday", before_number}},
      {"Sun", {"Sunday", before_number}},
  };
  return table;
}

bool is_month_or_weekday_next(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {
      "Jan",   "Feb",  "Mar",  "Apr",    "May",       "Jun",     "Jul",      "Aug",
      "Sep",   "Sept", "Oct",  "Nov",    "Dec",       "January", "February", "March",
      "April", "June", "July", "August", "September", "October", "November", "December"};
  return words.contains(word);
}

/// Whether something with a number follows: "5", "V", "[5]".
bool is_number_next(std::string_view after, bool is_weekday) {
  const bool spaced = after.starts_with(' ');
  const std::string_view next = after.substr(spaced ? 1 : 0);
  if (begins_with_digit(next)) {
    return true;
  }
  if (is_weekday) {
    return is_month_or_weekday_next(first_word(next));
  }
  static constexpr std::string_view numerals = "IVXLCivxl";
  const std::string_view word = spaced ? first_word(next) : std::string_view();
  return !word.empty() && word != "I" && word != "i" && word.find_first_not_of(numerals) == std::string_view::npos;
}

bool is_weekday(const Abbreviation& abbreviation) { return abbreviation.spoken.ends_with("day"); }

/// "Sun., Mar. 5": a weekday before a comma and a date.
std::string_view behind_comma(std::string_view after, const Abbreviation& abbreviation) {
  return is_weekday(abbreviation) && after.starts_with(",") ? after.substr(1) : after;
}

std::optional<Reading> read_entry(std::string_view word, const Abbreviation& entry, const Spot& spot) {
  using enum Place;
  const std::string_view behind = spot.after(word.size());
  const bool stop = behind.starts_with('.');
  const std::string_view after = behind.substr(stop ? 1 : 0);
  const bool name_follows = after.starts_with(' ') && begins_with_capital(after.substr(1));
  const bool name_precedes =
      !previous_word(spot.before()).empty() || spot.before().ends_with(", ") || spot.before().ends_with("& ");
  const Reading with_stop{word.size() + (stop ? 1 : 0), entry.spoken};
  switch (entry.place) {
  case before_name: return stop || name_follows ? std::optional(with_stop) : std::nullopt;
  case before_name_stop: return stop && name_follows ? std::optional(with_stop) : std::nullopt;
  case before_number:
    return stop && is_number_next(behind_comma(after, entry), is_weekday(entry)) ? std::optional(with_stop)
                                                                                 : std::nullopt;
  case leaning_stop: return stop && !after.empty() ? std::optional(with_stop) : std::nullopt;
  case leaning: return Reading{word.size() + (stop && !after.empty() ? 1 : 0), entry.spoken};
  case anywhere: return Reading{word.size() + (stop && !ends_sentence(after) ? 1 : 0), entry.spoken};
  case after_name:
    if (!name_precedes || (!stop && entry.spoken == "Company")) {
      return std::nullopt;
    }
    return Reading{word.size() + (stop && !surely_ends_sentence(after) ? 1 : 0), entry.spoken};
  }
  return std::nullopt;
}

/// Places whose names go on with a saint, and words that stand before saints.
bool stands_before_saint(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {
      "Lake", "Port",  "Mount", "Fort",  "Cape",   "Sir",  "Lady",   "Lord",   "Captain", "East",
      "West", "North", "South", "Saint", "Church", "Miss", "Mister", "Doctor", "Gulf",    "River"};
  return words.contains(word) || is_function_word(word) || !begins_with_capital(word);
}

/// "221 Baker St": a house number before the last two words.
bool has_house_number(std::string_view before) {
  for (int words = 0; words < 3; ++words) {
    const std::string_view word = previous_word(before);
    if (begins_with_digit(word)) {
      return words > 0;
    }
    if (!begins_with_capital(word)) {
      return false;
    }
    before.remove_suffix(word.size() + 1);
  }
  return false;
}

/// Saint or street.
std::optional<Reading> read_st(std::string_view word, const Spot& spot) {
  const std::string_view behind = spot.after(word.size());
  const bool stop = behind.starts_with('.');
  const std::string_view after = behind.substr(stop ? 1 : 0);
  const std::string_view previous = previous_word(spot.before());
  const std::string_view next = next_word(after);
  const bool name_follows = begins_with_capital(next);
  if (name_follows && !has_house_number(spot.before()) &&
      (previous.empty() || stands_before_saint(previous) || !is_function_word(next))) {
    return Reading{word.size() + (stop ? 1 : 0), "Saint"};
  }
  if (!begins_with_capital(previous) && !begins_with_digit(previous)) {
    return std::nullopt;
  }
  return Reading{word.size() + (stop && !ends_sentence(after) ? 1 : 0), "Street"};
}

/// Doctor or drive.
std::optional<Reading> read_dr(std::string_view word, const Spot& spot) {
  const std::string_view behind = spot.after(word.size());
  const bool stop = behind.starts_with('.');
  const std::string_view after = behind.substr(stop ? 1 : 0);
  const bool name_follows = begins_with_capital(next_word(after));
  if (name_follows && !has_house_number(spot.before())) {
    return Reading{word.size() + (stop ? 1 : 0), "Doctor"};
  }
  const std::string_view previous = previous_word(spot.before());
  if (begins_with_capital(previous) && !is_function_word(previous)) {
    return Reading{word.size() + (stop && !ends_sentence(after) ? 1 : 0), "Drive"};
  }
  return stop ? std::optional(Reading{word.size() + 1, "Doctor"}) : std::nullopt;
}

std::optional<Reading> read_for_example(const Match& match, const Spot&) {
  return Reading{match.length(), match[0].front() == 'E' ? "For example" : "for example"};
}

std::optional<Reading> read_that_is(const Match& match, const Spot&) {
  return Reading{match.length(), match[0].front() == 'I' ? "That is" : "that is"};
}

std::optional<Reading> read_also_known_as(const Match& match, const Spot&) {
  return Reading{match.length(), "also known as"};
}

std::optional<Reading> read_and_others(const Match& match, const Spot& spot) {
  return Reading{match.length() - (ends_sentence(spot.after(match.length())) ? 1 : 0), "and others"};
}

/// "Roe v. Wade".
std::optional<Reading> read_versus(const Match&, const Spot& spot) {
  return begins_with_capital(previous_word(spot.before())) ? std::optional(Reading{2, "versus"}) : std::nullopt;
}

std::optional<Reading> read_with(const Match& match, const Spot&) {
  return Reading{match.length(), match[0].ends_with('o') ? "without" : "with"};
}

/// Several full stops, or a slash.
const RuleTable& shapes() {
  static const RuleTable table({
      {R"([Ee]\. ?g\.)", read_for_example},
      {R"([Ii]\. ?e\.)", read_that_is},
      {R"(a\.k\.a\.|aka\b|AKA\b)", read_also_known_as},
      {R"(et al\.)", read_and_others},
      {R"(v\. [A-Z])", read_versus},
      {R"(w/o\b)", read_with},
      {R"(w/(?: |$))",
       [](const Match&, const Spot&) -> std::optional<Reading> {
         return Reading{2, "with"};
       }},
  });
  return table;
}

/// Whether shapes() are worth a look.
bool may_have_shape(std::string_view word, std::string_view after) {
  return (word.size() == 1 && (after.starts_with('.') || after.starts_with('/'))) || word == "aka" || word == "AKA" ||
         (word == "et" && after.starts_with(" al."));
}

/// Whether a number follows, perhaps behind a full stop or comma.
bool is_before_number(std::string_view after) {
  std::size_t mark = 0;
  while (mark < after.size() && mark < 3 && (after[mark] == '.' || after[mark] == ',' || after[mark] == ' ')) {
    ++mark;
  }
  return mark > 0 && begins_with_digit(after.substr(mark));
}

} // namespace

std::optional<Reading> read_abbreviation(std::string_view word, const Spot& spot) {
  if (word == "St" || word == "ST") {
    return read_st(word, spot);
  }
  if (word == "Dr" || word == "DR") {
    return read_dr(word, spot);
  }
  if (const auto entry = abbreviations().find(word); entry != abbreviations().end()) {
    return read_entry(word, entry->second, spot);
  }
  if (may_have_shape(word, spot.after(word.size()))) {
    if (auto reading = shapes().read(spot)) {
      return reading;
    }
  }
  return is_before_number(spot.after(word.size())) ? read_month(spot) : std::nullopt;
}

} // namespace audiobookd::jobs
