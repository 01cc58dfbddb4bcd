// `audiobookctl redo`: the job that renders single utterances of a book again.
//
// A pure function; any thread.
#pragma once

#include "daemon/book_listing.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// What is to become of some utterances. Without anything but numbers: their next takes.
struct RedoWish {
  std::vector<std::size_t> numbers;
  std::optional<std::uint64_t> seed = {};
  std::optional<std::string> text = {};
  std::optional<int> take = {};
  bool original = false; ///< as the book's own job had them
};

/// The job @p payload (JSON; empty: not known) once more under the name @p id, with what it has redone already and @p
/// wish.
/// @param listing of the book as it is, which @p payload, or a job that only differs in its id, has made.
/// @throws std::invalid_argument: an utterance that does not exist, a text for several of them, a wish for two things,
/// a payload that is no job.
[[nodiscard]] std::string redo_job(const BookListing& listing, const std::string& payload, const RedoWish& wish,
                                   const std::string& id);

} // namespace audiobookd::daemon
