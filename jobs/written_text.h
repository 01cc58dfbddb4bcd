// Which part of a written paragraph an utterance of it reads: what is said was cut into utterances after numbers,
// abbreviations and the like had become words, while people read along in what is written.
//
// Pure functions: any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Cuts @p written, a paragraph, where its @p spoken stretches end. Words that both have say where that is; between
/// them, in proportion. Takes time in proportion to the length.
/// @return as many parts as there are stretches: behind one another, with single spaces between those that are not
/// empty, they are @p written. One is empty only where there are fewer words than stretches. No edges of white space.
[[nodiscard]] std::vector<std::string> written_parts(std::string_view written, std::span<const std::string> spoken);

} // namespace audiobookd::jobs
