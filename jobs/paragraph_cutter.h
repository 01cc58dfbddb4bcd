// Cuts one paragraph into stretches that fit an utterance.
//
// A pure function of its arguments: any thread.
#pragma once

#include "jobs/chunker.h"

#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Cuts @p paragraph (UTF-8) as chunk_document() promises.
/// @return parts of it, in order, without white space at their edges; nothing else is left out.
/// @throws std::invalid_argument when options.max_tokens is too small for a single character.
std::vector<std::string_view> cut_paragraph(std::string_view paragraph, const ChunkerOptions& options);

/// The beginning of @p paragraph (UTF-8) that ends with its first sentence, white space behind it included; with more
/// sentences where it, or what remains, would be below options.min_characters; all of it where there is no such place.
std::string_view first_sentence(std::string_view paragraph, const ChunkerOptions& options);

} // namespace audiobookd::jobs
