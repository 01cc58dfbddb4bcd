// How English reads numbers and what is written with digits. Pure functions: any thread.
#pragma once

#include "jobs/spoken_text/reading.h"

#include <optional>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Reads what begins with a digit, a point before a digit, a currency sign, an apostrophe before a year, or the bracket
/// of a telephone number. Any digit gets a reading.
[[nodiscard]] std::optional<Reading> read_number(const Spot& spot);

/// Dates, times of day, telephone numbers. Part of read_number().
[[nodiscard]] std::optional<Reading> read_date_or_time(const Spot& spot);
[[nodiscard]] std::optional<Reading> read_month(const Spot& spot); ///< "March 3, 1912", at the month
/// Amounts of money and measures. Part of read_number().
[[nodiscard]] std::optional<Reading> read_quantity(const Spot& spot);

/// A number as written in a quantity: "1,234.5", ".5", "3/4", "2 1/2".
[[nodiscard]] std::string quantity_words(const Speller& speller, std::string_view written);
/// Of the same, as a regular expression without groups.
extern const char* const quantity_pattern;

} // namespace audiobookd::jobs
