// What the gates did to a book, for its result, its summary and the log. Plain values; any thread.
#pragma once

#include "daemon/book.h"
#include "daemon/takes.h"

#include <cstddef>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// An utterance all of whose takes had findings: what is heard is the best of them.
struct BestEffort {
  std::size_t chapter = 0; ///< from 1
  std::string chapter_title;
  std::string text; ///< shortened
  int takes = 0;
  std::vector<Finding> findings;
};

struct GateReport {
  static constexpr std::size_t most_listed = 50;

  std::size_t retried = 0;        ///< utterances that were rendered more than once, those of best effort included
  std::size_t best_effort = 0;    ///< utterances
  std::vector<BestEffort> listed; ///< the first most_listed of these, in reading order
  std::size_t unheard = 0;        ///< utterances that the gate command failed to judge

  /// For people, without full stop; empty when every utterance passed at once.
  [[nodiscard]] std::string summary() const;
};

/// "chapter 3 (The Sail): "It was past…": cut_off …"
[[nodiscard]] std::string describe(const BestEffort& utterance);

/// Fields of a book's result: retried, best_effort, best_effort_utterances and, when there are any, unheard.
[[nodiscard]] nlohmann::ordered_json to_json(const GateReport& report);

/// @param notes by piece. Text that is heard several times is counted once.
[[nodiscard]] GateReport gate_report(const Book& book, const std::map<std::size_t, AudioNotes>& notes);

} // namespace audiobookd::daemon
