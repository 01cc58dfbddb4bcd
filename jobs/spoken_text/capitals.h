// Text in capitals, which a speech model would spell out letter by letter. Pure functions: any thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace audiobookd::jobs {

/// Writes English that is shouted ("STOP THAT!", "IT WAS A DARK night", a heading in capitals) as ordinary sentences.
/// Capitals that are names of letters (NASA, FBI, BBC) and Roman numerals stay. The text keeps its length in bytes.
/// @param kept places that are not touched, in order, as pairs of offsets.
void calm_capitals(std::string& text, const std::vector<std::pair<std::size_t, std::size_t>>& kept);

} // namespace audiobookd::jobs
