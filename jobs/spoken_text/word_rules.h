// How English reads abbreviations, Roman numerals, addresses and symbols. Pure functions: any thread.
#pragma once

#include "jobs/spoken_text/reading.h"

#include <optional>
#include <string_view>

namespace audiobookd::jobs {

/// Reads a word that is written shorter than it is said. @param word the letters that begin spot.rest().
[[nodiscard]] std::optional<Reading> read_abbreviation(std::string_view word, const Spot& spot);

/// Reads a Roman numeral where one is likely: behind "Chapter" and the like, behind the name of a king or pope, behind
/// another capitalised word, alone in a heading. @param word as for read_abbreviation().
[[nodiscard]] std::optional<Reading> read_roman_numeral(std::string_view word, const Spot& spot);

/// The value of a Roman numeral in capitals as it is properly written, up to 3999; 0 for anything else.
[[nodiscard]] int roman_value(std::string_view numeral) noexcept;

/// Reads a web or mail address. @param word as for read_abbreviation().
[[nodiscard]] std::optional<Reading> read_address(std::string_view word, const Spot& spot);

/// Reads a symbol: "&", "+", "§". A reading without words leaves it out.
[[nodiscard]] std::optional<Reading> read_symbol(const Spot& spot);

} // namespace audiobookd::jobs
