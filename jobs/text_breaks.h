// Where a paragraph may be cut, and how well: the places that the chunker chooses from.
//
// Pure functions: any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// What a cut falls between, best first.
enum class BreakRank {
  sentences,
  quoted_sentences, ///< sentences inside quoted speech, or what may be two sentences around an ellipsis
  clauses,          ///< after a semicolon, colon or dash
  commas,
  conjunctions, ///< before "and", "but", "which", …
  words,
  characters, ///< inside a word
};

struct Break {
  std::size_t offset = 0; ///< in bytes: the text behind the cut begins here
  BreakRank rank = BreakRank::words;
};

/// The places between words where @p paragraph (UTF-8) may be cut, in order, without its edges; each with the best rank
/// that applies.
///
/// Sentences are those of ICU (UAX #29, locale en), joined again where English disagrees: behind abbreviations and
/// initials (Mr., e.g., J. R. R.), before a lower-case letter (“Why?” he asked), where no space follows (URLs).
/// Text in scripts that write no spaces can be cut behind its own full stops and commas.
std::vector<Break> find_breaks(std::string_view paragraph);

/// The places inside @p word (UTF-8) where it may be cut in an emergency: between graphemes. In order, without edges.
std::vector<std::size_t> find_grapheme_breaks(std::string_view word);

} // namespace audiobookd::jobs
