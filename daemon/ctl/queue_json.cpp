// See queue_json.h.
#include "daemon/ctl/queue_json.h"

#include <algorithm>
#include <array>
#include <ostream>

namespace audiobookd::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 19> numbers = {
    "v",        "progress",      "eta",        "first_audio_ms", "attempts", "max_attempts", "created_at",
    "ready_at", "started_at",    "updated_at", "heartbeat_at",   "retry_at", "finished_at",  "not_before",
    "suspect",  "suspect_since", "alone",      "cancel",         "overdue"};

/// The number that @p text is; null if it is none.
Json number(const std::string& text) {
  const auto value = Json::parse(text, nullptr, false);
  return value.is_number() ? value : Json();
}

/// What a JSON text says; the text itself if it is no JSON, null if it is empty.
Json embedded(const std::string& text) {
  if (text.empty()) {
    return {};
  }
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

Json field(const std::string& name, const std::string& text) {
  if (name == "result") {
    return embedded(text);
  }
  return std::find(numbers.begin(), numbers.end(), name) == numbers.end() ? Json(text) : number(text);
}

} // namespace

Json to_json(const jobs::JobRecord& record) {
  Json json{{"id", record.id}, {"state", std::string(record.state())}};
  for (const auto& [name, text] : record.fields) {
    json[name] = field(name, text);
  }
  return json;
}

Json to_json(const jobs::JobEvent& event) {
  return {{"at", event.at}, {"id", event.id}, {"event", event.event}, {"detail", event.detail}};
}

Json to_json(const jobs::DeadJob& job) {
  return {{"id", job.id},
          {"at", job.at},
          {"queue", job.queue},
          {"error", job.error},
          {"attempts", number(job.attempts)},
          {"job", embedded(job.payload)}};
}

Json to_json(const jobs::WorkerRecord& worker) {
  return {{"name", worker.name},
          {"alive", worker.is_alive()},
          {"draining", worker.draining},
          {"seen_at", worker.seen},
          {"info", embedded(worker.info)}};
}

Json to_json(const jobs::QueueStats& stats) {
  Json queues = Json::array();
  for (const jobs::QueueStats::One& queue : stats.queues) {
    queues.push_back({{"name", queue.name},
                      {"waiting", queue.waiting},
                      {"running", queue.running},
                      {"delayed", queue.delayed},
                      {"oldest_wait_ms", queue.oldest_ms},
                      {"paused", queue.paused}});
  }
  return {{"queues", queues},
          {"untaken", stats.untaken},
          {"dead", stats.dead},
          {"paused", stats.paused},
          {"workers", stats.workers},
          {"recently", {{"window_ms", stats.window_ms}, {"done", stats.done}, {"audio_seconds", stats.audio_seconds}}}};
}

Json to_json(const jobs::ControlOutcome& outcome) {
  Json json{{"command", outcome.command.name}};
  if (!outcome.command.field.empty()) {
    json[outcome.command.field] = outcome.command.subject;
  }
  json["outcome"] = outcome.outcome ? Json(*outcome.outcome) : Json();
  json["ok"] = outcome.is_success();
  return json;
}

Json to_json(const jobs::JobRecord& record, const std::vector<jobs::JobEvent>& events) {
  return {{"id", record.id}, {"record", to_json(record)}, {"events", to_json(events)}};
}

void print(std::ostream& out, const Json& document) {
  out << document.dump(2, ' ', true, Json::error_handler_t::replace) << '\n';
}

std::string to_line(const Json& document) { return document.dump(-1, ' ', true, Json::error_handler_t::replace); }

void print_line(std::ostream& out, const Json& document) { out << to_line(document) << std::endl; }

} // namespace audiobookd::daemon
