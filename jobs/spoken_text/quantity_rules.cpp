// Money and measures: a number and what it counts.
#include "jobs/spoken_text/number_rules.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>

namespace audiobookd::jobs {
namespace {

/// A unit in words. Metres and litres are spelled as in the United States here.
struct Unit {
  std::string one;
  std::string many;
  bool may_have_stop = false; ///< "10 ft." is written as well
};

const std::unordered_map<std::string_view, Unit>& units() {
  static const std::unordered_map<std::string_view, Unit> table = {
      {"km", {"kilometer", "kilometers"}},
      {"m", {"meter", "meters"}},
      {"dm", {"decimeter", "decimeters"}},
      {"cm", {"centimeter", "centimeters"}},
      {"mm", {"millimeter", "millimeters"}},
      {"μm", {"micrometer", "micrometers"}},
      {"nm", {"nanometer", "nanometers"}},
      {"mi", {"mile", "miles", true}},
      {"yd", {"yard", "yards", true}},
      {"yds", {"yard", "yards", true}},
      {"ft", {"foot", "feet", true}},
      {"sq ft", {"square foot", "square feet", true}},
      {"cu ft", {"cubic foot", "cubic feet", true}},
      {"sq mi", {"square mile", "square miles", true}},
      {"ha", {"hectare", "hectares"}},
      {"kg", {"kilogram", "kilograms"}},
      {"g", {"gram", "grams"}},
      {"mg", {"milligram", "milligrams"}},
      {"μg", {"microgram", "micrograms"}},
      {"t", {"ton", "tons"}},
      {"lb", {"pound", "pounds", true}},
      {"lbs", {"pound", "pounds", true}},
      {"oz", {"ounce", "ounces", true}},
      {"l", {"liter", "liters"}},
      {"L", {"liter", "liters"}},
      {"dl", {"deciliter", "deciliters"}},
      {"cl", {"centiliter", "centiliters"}},
      {"ml", {"milliliter", "milliliters"}},
      {"mL", {"milliliter", "milliliters"}},
      {"gal", {"gallon", "gallons", true}},
      {"qt", {"quart", "quarts", true}},
      {"tbsp", {"tablespoon", "tablespoons", true}},
      {"tsp", {"teaspoon", "teaspoons", true}},
      {"mph", {"mile per hour", "miles per hour"}},
      {"kph", {"kilometer per hour", "kilometers per hour"}},
      {"km/h", {"kilometer per hour", "kilometers per hour"}},
      {"kmh", {"kilometer per hour", "kilometers per hour"}},
      {"m/s", {"meter per second", "meters per second"}},
      {"mpg", {"mile per gallon", "miles per gallon"}},
      {"rpm", {"revolution per minute", "revolutions per minute"}},
      {"bpm", {"beat per minute", "beats per minute"}},
      {"fps", {"frame per second", "frames per second"}},
      {"ns", {"nanosecond", "nanoseconds"}},
      {"ms", {"millisecond", "milliseconds"}},
      {"s", {"second", "seconds"}},
      {"sec", {"second", "seconds", true}},
      {"secs", {"second", "seconds", true}},
      {"min", {"minute", "minutes", true}},
      {"mins", {"minute", "minutes", true}},
      {"h", {"hour", "hours"}},
      {"hr", {"hour", "hours", true}},
      {"hrs", {"hour", "hours", true}},
      {"yr", {"year", "years", true}},
      {"yrs", {"year", "years", true}},
      {"Hz", {"hertz", "hertz"}},
      {"kHz", {"kilohertz", "kilohertz"}},
      {"MHz", {"megahertz", "megahertz"}},
      {"GHz", {"gigahertz", "gigahertz"}},
      {"W", {"watt", "watts"}},
      {"kW", {"kilowatt", "kilowatts"}},
      {"MW", {"megawatt", "megawatts"}},
      {"GW", {"gigawatt", "gigawatts"}},
      {"kWh", {"kilowatt hour", "kilowatt hours"}},
      {"V", {"volt", "volts"}},
      {"kV", {"kilovolt", "kilovolts"}},
      {"mA", {"milliamp", "milliamps"}},
      {"hp", {"horsepower", "horsepower"}},
      {"kJ", {"kilojoule", "kilojoules"}},
      {"kcal", {"kilocalorie", "kilocalories"}},
      {"cal", {"calorie", "calories", true}},
      {"dB", {"decibel", "decibels"}},
      {"kB", {"kilobyte", "kilobytes"}},
      {"KB", {"kilobyte", "kilobytes"}},
      {"MB", {"megabyte", "megabytes"}},
      {"GB", {"gigabyte", "gigabytes"}},
      {"TB", {"terabyte", "terabytes"}},
      {"Mbps", {"megabit per second", "megabits per second"}},
      {"Gbps", {"gigabit per second", "gigabits per second"}},
      {"px", {"pixel", "pixels"}},
      {"dpi", {"dot per inch", "dots per inch"}},
      {"psi", {"pound per square inch", "pounds per square inch"}},
      {"hPa", {"hectopascal", "hectopascals"}},
      {"kPa", {"kilopascal", "kilopascals"}},
      {"mbar", {"millibar", "millibars"}},
      {"ppm", {"part per million", "parts per million"}},
      {"%", {"percent", "percent"}},
      {"‰", {"per mille", "per mille"}},
      {"°C", {"degree Celsius", "degrees Celsius"}},
      {"°F", {"degree Fahrenheit", "degrees Fahrenheit"}},
      {"°", {"degree", "degrees"}},
      {"′", {"foot", "feet"}},
      {"″", {"inch", "inches"}},
  };
  return table;
}

/// Spelling does not change the sound, but the words are shown.
std::string in_spelling_of(const Speller& speller, std::string words) {
  if (!speller.is_british()) {
    return words;
  }
  for (const auto& [american, british] : {std::pair{"meter", "metre"}, {"liter", "litre"}, {"percent", "per cent"}}) {
    if (const std::size_t at = words.find(american); at != std::string::npos) {
      words.replace(at, std::string_view(american).size(), british);
    }
  }
  return words;
}

bool is_one(std::string_view number) { return number == "1"; }

/// "a 5 km run", "a $20 bill": the measure is an adjective, and stands in the singular.
bool is_adjective(const Spot& spot, std::string_view after) {
  const std::string_view article = previous_word(spot.before());
  const std::string_view noun = next_word(after);
  static const std::array<std::string_view, 12> others = {"a",  "an", "and", "at", "each", "for",
                                                          "in", "is", "of",  "on", "or",   "per"};
  const bool noun_follows = !noun.empty() && noun.front() >= 'a' && noun.front() <= 'z' &&
                            std::find(others.begin(), others.end(), noun) == others.end();
  return (article == "a" || article == "an" || article == "A" || article == "An") && noun_follows;
}

/// A number and its unit: "half a mile", "three quarters of a mile", "one mile", "two and a half miles".
std::string measure_words(const Speller& speller, std::string_view number, const Unit& unit, bool singular) {
  const std::string one = in_spelling_of(speller, unit.one);
  const std::string many = in_spelling_of(speller, unit.many);
  const std::string words = quantity_words(speller, number);
  const bool is_fraction = number.find('/') != std::string_view::npos;
  const bool is_mixed = is_fraction && number.find_first_of(" -") != std::string_view::npos;
  const bool countable = unit.one != unit.many;
  if (is_fraction && !is_mixed && countable && !singular) {
    const std::string article = std::string_view("aeiou").find(one.front()) != std::string_view::npos ? "an " : "a ";
    const std::string with_article = (unit.one == "hour" ? "an " : article) + one;
    return number == "1/2" ? "half " + with_article : words + " of " + with_article;
  }
  return words + " " + (is_one(number) || singular ? one : many);
}

/// Groups: number, space or hyphen, unit, exponent.
std::optional<Reading> read_measure(const Match& match, const Spot& spot) {
  const auto found = units().find(match[3]);
  const std::string_view behind = spot.after(match.length());
  if (found == units().end() || (!behind.empty() && (is_digit(behind.front()) || behind.front() == '&'))) {
    return std::nullopt;
  }
  const bool is_numeral = (match[3] == "V" || match[3] == "L") && match[2] == " " && behind.starts_with(". ");
  if (is_numeral) { // of a list: "43 V. The Storm"
    return std::nullopt;
  }
  Unit unit = found->second;
  if (!match[4].empty()) {
    const std::string power = match[4] == "³" || match[4] == "3" ? "cubic " : "square ";
    unit.one = power + unit.one;
    unit.many = power + unit.many;
  }
  std::size_t length = match.length();
  if (behind.starts_with('.') && unit.may_have_stop && !ends_sentence(behind.substr(1))) {
    ++length;
  }
  const bool hyphenated = match[2] == "-";
  return Reading{length,
                 measure_words(spot.speller, match[1], unit, hyphenated || is_adjective(spot, spot.after(length)))};
}

/// "40°26′46″N". Groups: degrees, minutes, seconds, direction.
std::optional<Reading> read_angle(const Match& match, const Spot& spot) {
  static const std::unordered_map<std::string_view, std::string> directions = {
      {"N", " north"}, {"S", " south"}, {"E", " east"}, {"W", " west"}};
  const Speller& speller = spot.speller;
  std::string spoken = measure_words(speller, match[1], units().at("°"), false);
  spoken += match[2].empty() ? "" : ", " + measure_words(speller, match[2], units().at("min"), false);
  spoken += match[3].empty() ? "" : ", " + measure_words(speller, match[3], units().at("sec"), false);
  spoken += match[4].empty() ? "" : directions.at(match[4]);
  return Reading{match.length(), spoken};
}

/// 5'10". Groups: feet, inches.
std::optional<Reading> read_height(const Match& match, const Spot& spot) {
  return Reading{match.length(), spot.speller.integer(match[1]) + " foot " + spot.speller.decimal(match[2])};
}

struct Currency {
  std::string one;
  std::string many;
  std::string cent; ///< empty: there are none
  std::string cents;
};

const std::unordered_map<std::string_view, Currency>& currencies() {
  static const std::unordered_map<std::string_view, Currency> table = {
      {"$", {"dollar", "dollars", "cent", "cents"}},
      {"£", {"pound", "pounds", "penny", "pence"}},
      {"€", {"euro", "euros", "cent", "cents"}},
      {"¥", {"yen", "yen", "", ""}},
      {"₹", {"rupee", "rupees", "paisa", "paise"}},
      {"₩", {"won", "won", "", ""}},
      {"₽", {"ruble", "rubles", "kopeck", "kopecks"}},
      {"¢", {"cent", "cents", "", ""}},
      {"US$", {"US dollar", "US dollars", "cent", "cents"}},
      {"C$", {"Canadian dollar", "Canadian dollars", "cent", "cents"}},
      {"CA$", {"Canadian dollar", "Canadian dollars", "cent", "cents"}},
      {"A$", {"Australian dollar", "Australian dollars", "cent", "cents"}},
      {"NZ$", {"New Zealand dollar", "New Zealand dollars", "cent", "cents"}},
      {"HK$", {"Hong Kong dollar", "Hong Kong dollars", "cent", "cents"}},
      {"USD", {"US dollar", "US dollars", "cent", "cents"}},
      {"EUR", {"euro", "euros", "cent", "cents"}},
      {"GBP", {"pound", "pounds", "penny", "pence"}},
      {"CHF", {"Swiss franc", "Swiss francs", "", ""}},
      {"JPY", {"yen", "yen", "", ""}},
      {"CAD", {"Canadian dollar", "Canadian dollars", "cent", "cents"}},
      {"AUD", {"Australian dollar", "Australian dollars", "cent", "cents"}},
  };
  return table;
}

std::string magnitude_words(std::string_view written) {
  static const std::unordered_map<std::string_view, std::string> table = {
      {"k", "thousand"}, {"K", "thousand"}, {"m", "million"}, {"M", "million"},   {"mn", "million"},
      {"bn", "billion"}, {"b", "billion"},  {"B", "billion"}, {"tn", "trillion"}, {"trn", "trillion"}};
  const auto found = table.find(written);
  return found == table.end() ? std::string(written) : found->second;
}

/// "five dollars", "three pounds and fifty pence", "one point two million euros".
std::string money_words(const Speller& speller, std::string_view number, std::string_view magnitude,
                        const Currency& currency, bool singular) {
  if (!magnitude.empty()) {
    return quantity_words(speller, number) + " " + magnitude_words(magnitude) + " " +
           (singular ? currency.one : currency.many);
  }
  const std::size_t point = number.find('.');
  const bool has_cents = !currency.cent.empty() && point != std::string_view::npos && number.size() == point + 3;
  if (!has_cents) {
    return measure_words(speller, number, {currency.one, currency.many}, singular);
  }
  const std::string_view whole = number.substr(0, point);
  const std::int64_t cents = value_of(number.substr(point + 1));
  std::string units_said =
      speller.integer(whole.empty() ? "0" : whole) + " " + (is_one(whole) || singular ? currency.one : currency.many);
  const std::string cents_said = speller.cardinal(cents) + " " + (cents == 1 ? currency.cent : currency.cents);
  if (cents == 0) {
    return units_said;
  }
  return value_of(whole, 0) == 0 ? cents_said : units_said + " and " + cents_said;
}

/// Groups: currency, number, magnitude, number at the end of a range, its magnitude.
std::optional<Reading> read_money(const Match& match, const Spot& spot) {
  const auto currency = currencies().find(match[1]);
  if (currency == currencies().end()) {
    return std::nullopt;
  }
  const bool singular = is_adjective(spot, spot.after(match.length())) || spot.after(match.length()).starts_with("-");
  if (match[4].empty()) {
    return Reading{match.length(), money_words(spot.speller, match[2], match[3], currency->second, singular)};
  }
  const std::string first =
      quantity_words(spot.speller, match[2]) + (match[3].empty() ? "" : " " + magnitude_words(match[3]));
  return Reading{match.length(),
                 first + " to " + money_words(spot.speller, match[4], match[5], currency->second, singular)};
}

/// "5 €", "5¢", "20 USD". Groups: number, magnitude, currency.
std::optional<Reading> read_money_behind(const Match& match, const Spot& spot) {
  const auto currency = currencies().find(match[3]);
  return currency == currencies().end()
             ? std::nullopt
             : std::optional(Reading{match.length(), money_words(spot.speller, match[1], match[2], currency->second,
                                                                 is_adjective(spot, spot.after(match.length())))});
}

/// "50p", in Britain. Groups: number.
std::optional<Reading> read_pence(const Match& match, const Spot& spot) {
  if (!spot.speller.is_british()) {
    return std::nullopt;
  }
  return Reading{match.length(), measure_words(spot.speller, match[1], {"penny", "pence"}, false)};
}

/// "£4 10s. 6d." Groups: pounds, shillings, pence.
std::optional<Reading> read_old_money(const Match& match, const Spot& spot) {
  const Speller& speller = spot.speller;
  const bool stop_is_sentence_end = match[0].ends_with('.') && ends_sentence(spot.after(match.length()));
  std::string spoken = measure_words(speller, match[1], {"pound", "pounds"}, false) + " " +
                       measure_words(speller, match[2], {"shilling", "shillings"}, false);
  spoken += match[3].empty() ? "" : " and " + measure_words(speller, match[3], {"penny", "pence"}, false);
  return Reading{match.length() - (stop_is_sentence_end ? 1 : 0), spoken};
}

const RuleTable& quantity_rules() {
  const std::string number = "(" + std::string(quantity_pattern) + ")";
  const std::string magnitude =
      R"((?:[ -]?(thousand|million|billion|trillion|crore|lakh|mn|bn|tn|trn|k|K|m|M|b|B)\b)?)";
  const std::string symbols = R"(((?:US|CA|C|A|NZ|HK)?[$]|[£€¥₹₩₽]|(?:USD|EUR|GBP|CHF|JPY|CAD|AUD)))";
  static const RuleTable table({
      {R"(£(\d{1,3}(?:,\d{3})+|\d+),? (\d{1,2})s\b\.?(?:,? (\d{1,2})d\b\.?)?)", read_old_money},
      {symbols + " ?" + number + magnitude + R"((?:(?:–|-)[$£€]?)" + number + magnitude + ")?", read_money},
      {number + magnitude + R"( ?([€£¥¢₹₩₽]|(?:USD|EUR|GBP|CHF|JPY|CAD|AUD)\b))", read_money_behind},
      {number + R"(p\b)", read_pence},
      {R"((\d)(?:'|’|′) ?(\d{1,2}(?:\.\d)?)(?:"|”|″|''))", read_height},
      {R"((\d{1,2}) ?ft\.? (\d{1,2}) ?in\b\.?)", read_height},
      {R"((\d+(?:\.\d+)?) ?° ?(?:(\d+) ?(?:'|’|′) ?(?:(\d+(?:\.\d+)?) ?(?:"|”|″) ?)?)([NSEW]\b)?)", read_angle},
      {R"((\d+(?:\.\d+)?) ?°()() ?([NSEW]\b))", read_angle},
      {number + R"(( ?|-)(sq ft|cu ft|sq mi|km/h|m/s|° ?[CF]|[a-zA-Zμ]+|%|‰|°|′|″)(²|³|[23]\b)?)", read_measure},
  });
  return table;
}

} // namespace

std::optional<Reading> read_quantity(const Spot& spot) { return quantity_rules().read(spot); }

} // namespace audiobookd::jobs
