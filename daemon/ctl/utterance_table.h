// `audiobookctl utterances`: which utterances of a listing are shown, in which order, and how.
//
// Pure functions; any thread.
#pragma once

#include "daemon/book_listing.h"

#include <cstddef>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// Which are shown.
struct UtteranceFilter {
  bool suspicious_first = false;
  std::optional<std::size_t> chapter = {};
  std::optional<double> around_s = {}; ///< heard at this time of a file, or within around_reach_s of it
  std::size_t limit = 0;               ///< 0: all
};

inline constexpr double around_reach_s = 15;

/// "90", "1:30", "0:01:30.5" in seconds. @throws std::invalid_argument for anything else.
[[nodiscard]] double parse_time(const std::string& text);

/// Those that @p filter asks for; they live in @p listing. In reading order, or those first that gates found fault
/// with, the worst before, then those that no gate command judged, then those of several takes.
/// @throws std::invalid_argument: a chapter that does not exist; a time where it takes a chapter to say of which file.
[[nodiscard]] std::vector<const ListedUtterance*> select_utterances(const BookListing& listing,
                                                                    const UtteranceFilter& filter);

/// @param columns of the terminal that @p out is; 0: it is none.
void print_utterances(std::ostream& out, std::size_t columns, const BookListing& listing,
                      const std::vector<const ListedUtterance*>& utterances);

[[nodiscard]] nlohmann::ordered_json to_json(const BookListing& listing,
                                             const std::vector<const ListedUtterance*>& utterances);

} // namespace audiobookd::daemon
