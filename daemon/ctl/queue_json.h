// What audiobookctl prints with --json. Names are those of jobs/PROTOCOL.md; numbers are numbers, times are
// milliseconds since 1970, what is not known is null.
//
// Pure functions: any thread.
#pragma once

#include "jobs/queue_client.h"

#include <iosfwd>
#include <nlohmann/json.hpp>

namespace audiobookd::daemon {

[[nodiscard]] nlohmann::ordered_json to_json(const jobs::JobRecord& record);
[[nodiscard]] nlohmann::ordered_json to_json(const jobs::JobEvent& event);
[[nodiscard]] nlohmann::ordered_json to_json(const jobs::DeadJob& job);
[[nodiscard]] nlohmann::ordered_json to_json(const jobs::WorkerRecord& worker);
[[nodiscard]] nlohmann::ordered_json to_json(const jobs::QueueStats& stats);
[[nodiscard]] nlohmann::ordered_json to_json(const jobs::ControlOutcome& outcome);

/// {"id", "record", "events"}
[[nodiscard]] nlohmann::ordered_json to_json(const jobs::JobRecord& record, const std::vector<jobs::JobEvent>& events);

/// An array of each.
template <typename Item>
nlohmann::ordered_json to_json(const std::vector<Item>& items) {
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const Item& item : items) {
    array.push_back(to_json(item));
  }
  return array;
}

/// A document on one line. In ASCII: nothing that a terminal would obey, whatever is in it.
[[nodiscard]] std::string to_line(const nlohmann::ordered_json& document);
/// Writes a document, over several lines or as to_line().
void print(std::ostream& out, const nlohmann::ordered_json& document);
void print_line(std::ostream& out, const nlohmann::ordered_json& document);

} // namespace audiobookd::daemon
