// What is read in a book of preset acx: the document, between its credits, in chapters that fit into a file.
//
// Pure functions: any thread.
#pragma once

#include "daemon/acx.h"
#include "jobs/chunker.h"
#include "jobs/document/document.h"

#include <functional>

namespace audiobookd::daemon {

/// Seconds that a text will take.
using LengthOf = std::function<double(const std::string& text)>;

/// A chapter is divided when it is expected to be longer: what is expected may be a fifth too short.
inline constexpr double most_expected_chapter_s = 100 * 60;

/// @p document with its credits as first and last chapter. Its other chapters keep their names.
/// @throws jobs::DocumentError when nothing is left of a text because its names are not known.
[[nodiscard]] jobs::Document with_credits(const jobs::Document& document, const AcxCredits& credits,
                                          const jobs::CreditNames& names);

/// @p document with chapters of about the same length, "TITLE, part 1", "TITLE, part 2", instead of those that are
/// expected to be longer than @p most_s: divided where a scene ends, else a paragraph. All parts but the first begin
/// with their names. A paragraph that is longer alone stays whole.
[[nodiscard]] jobs::Document in_parts(const jobs::Document& document, const LengthOf& length_of,
                                      const jobs::Pauses& pauses, double most_s = most_expected_chapter_s);

} // namespace audiobookd::daemon
