// The listing of a book, for those who listen to it critically: every utterance, when it is heard, what was said and
// what the gates found, and the job that the book was made by, so that single utterances can be rendered again
// (jobs/PROTOCOL.md, "Proof-listening").
//
// Plain values and pure functions: any thread.
#pragma once

#include "daemon/takes.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::daemon {

/// What is heard at one place of a book.
struct ListedUtterance {
  std::size_t number = 0; ///< from 1, in reading order
  std::string file;       ///< name of its audio file
  double start_s = 0;     ///< from the beginning of the file, without the edge silence that was trimmed
  double end_s = 0;
  std::size_t chapter = 0; ///< from 1
  std::string chapter_title;
  std::string written;
  std::string spoken;
  std::uint64_t seed = 0;
  std::string key;                    ///< PlannedUtterance::key
  std::optional<std::size_t> same_as; ///< number of the first utterance that is the same audio
  bool redone = false;                ///< it is not what the job alone would give
  int take = 0;                       ///< the attempt that is heard
  bool unheard = false;               ///< the gate command failed to judge it
  std::vector<Finding> findings;      ///< with what is heard
  std::vector<Take> takes;            ///< that are known, in order of attempts
  int num_takes = 0;                  ///< attempts so far: the number of the next one

  [[nodiscard]] double badness() const; ///< of what is heard; 0 without findings
};

struct BookListing {
  std::string job;         ///< id; empty: no queue's
  std::string payload;     ///< the job's JSON; empty: not known
  std::string output;      ///< as the job's result names it
  std::string fingerprint; ///< of a book that is one file; empty: of a folder, which the listing lies in
  std::string model;
  std::string voice;
  double gain_db = 0; ///< that the book was written with
  std::vector<ListedUtterance> utterances;
};

/// Name of the listing in the folder of a book.
inline constexpr const char* listing_file = "utterances.json";

/// Name of the listing of @p output, in the form in which outputs are named: in a folder listing_file, beside a single
/// file a hidden one.
[[nodiscard]] std::string listing_name(const std::string& output, bool is_folder);

/// JSON, an utterance a line. The same listing gives the same bytes.
[[nodiscard]] std::string to_json(const BookListing& listing);
[[nodiscard]] nlohmann::ordered_json to_json(const ListedUtterance& utterance);

/// What to_json() made. @throws std::runtime_error saying that @p name is none, and why.
[[nodiscard]] BookListing parse_listing(std::string_view json, const std::string& name);

} // namespace audiobookd::daemon
