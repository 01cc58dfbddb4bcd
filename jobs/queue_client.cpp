// See queue_client.h.
#include "jobs/queue_client.h"

#include "jobs/redis_protocol.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t records_at_once = 500;
constexpr std::string_view events_at_once = "1000";
constexpr std::string_view dead_at_once = "100"; // of up to 4 MiB each
constexpr milliseconds longest_wait_for_events{1000};
constexpr std::int64_t hour_ms = 3'600'000;
constexpr std::array<std::string_view, 4> open_states = {"queued", "running", "committing", "retry_wait"};

/// The number that @p text begins with; 0 if it does not.
std::int64_t leading_number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::map<std::string, std::string, std::less<>> fields_of(const RedisValue& list) {
  std::map<std::string, std::string, std::less<>> fields;
  for (std::size_t i = 0; i + 1 < list.list.size(); i += 2)
    fields.insert_or_assign(list.list[i].text, list.list[i + 1].text);
  return fields;
}

std::vector<std::string> texts_of(const RedisValue& list) {
  std::vector<std::string> texts;
  for (const RedisValue& element : list.list)
    texts.push_back(element.text);
  return texts;
}

JobEvent event_of(const RedisValue& entry) {
  auto fields = fields_of(entry.at(1));
  JobEvent event;
  event.entry = entry.at(0).text;
  event.at = leading_number(event.entry);
  event.id = fields["id"];
  event.event = fields["event"];
  event.detail = fields["detail"];
  event.command = fields["command"];
  return event;
}

/// The text of @p field of a JSON object; empty if it has none.
std::string text_of(const nlohmann::json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// What a message says; nothing if it is none of ours.
std::optional<JobEvent> event_of_message(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object())
    return std::nullopt;
  JobEvent event;
  event.id = text_of(json, "id");
  event.event = text_of(json, "event");
  event.detail = text_of(json, "detail");
  event.eta = text_of(json, "eta");
  event.at = leading_number(text_of(json, "at"));
  event.progress = std::strtod(text_of(json, "progress").c_str(), nullptr);
  return event;
}

bool is_open(std::string_view state) {
  return std::find(open_states.begin(), open_states.end(), state) != open_states.end();
}

bool matches(const JobRecord& record, const JobFilter& filter) {
  const auto& states = filter.states;
  return (states.empty() || std::find(states.begin(), states.end(), record.state()) != states.end()) &&
         (filter.queue.empty() || record.text("queue") == filter.queue);
}

/// Seconds of audio in a job's result.
double audio_seconds_of(const std::string& result) {
  const auto json = nlohmann::json::parse(result, nullptr, false);
  const auto found = json.is_object() ? json.find("audio_seconds") : json.end();
  return json.is_object() && found != json.end() && found->is_number() ? found->get<double>() : 0;
}

/// Commands that were given, and what came of them so far.
class Awaited {
public:
  /// @param entry of the command in the stream `control`.
  void add(const ControlCommand& command, std::string entry) {
    open_.emplace(std::move(entry), outcomes_.size());
    outcomes_.push_back({command, std::nullopt});
  }

  /// @return whether the event is about one of the commands.
  bool take(const JobEvent& event) {
    const auto found = open_.find(event.command);
    if (event.event != "control" || found == open_.end())
      return false;
    ControlOutcome& answered = outcomes_[found->second];
    const std::size_t begin = answered.command.name.size() + 2; // "cancel: requested"
    answered.outcome = event.detail.substr(std::min(event.detail.size(), begin));
    open_.erase(found);
    return true;
  }

  [[nodiscard]] std::size_t missing() const { return open_.size(); }
  [[nodiscard]] const std::vector<ControlOutcome>& outcomes() const { return outcomes_; }

private:
  std::vector<ControlOutcome> outcomes_;
  std::map<std::string, std::size_t, std::less<>> open_; ///< by entry: where it is in outcomes_
};

} // namespace

std::string_view JobRecord::text(std::string_view field) const {
  const auto found = fields.find(field);
  return found == fields.end() ? std::string_view() : std::string_view(found->second);
}

double JobRecord::number(std::string_view field) const {
  return std::strtod(std::string(text(field)).c_str(), nullptr);
}

bool JobRecord::has_ended() const { return is_final_state(state()); }

bool ControlOutcome::is_success() const {
  constexpr std::array<std::string_view, 7> good = {"cancelled", "requested", "requeued", "purged",
                                                    "paused",    "resumed",   "draining"};
  return outcome && std::find(good.begin(), good.end(), *outcome) != good.end();
}

// --- Messages -----------------------------------------------------------------------------------------------------

JobSubscription::JobSubscription(const QueueClientSettings& settings, const std::vector<std::string>& ids)
    : connection_(parse_redis_url(settings.url, settings.password), settings.timeouts, "audiobookctl-follow") {
  std::vector<std::string> words = {"SUBSCRIBE"};
  for (const std::string& id : ids)
    words.push_back(settings.prefix + "events:" + id);
  const std::vector<std::string_view> views(words.begin(), words.end());
  connection_.command(views); // one confirmation; those of further channels are passed over by next()
}

std::optional<JobEvent> JobSubscription::next(milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    const auto message = connection_.receive(std::max(left, milliseconds(0)));
    if (!message)
      return std::nullopt;
    if (message->list.size() == 3 && message->list[0].text == "message")
      if (auto event = event_of_message(message->list[2].text))
        return event;
  }
}

// --- Jobs ---------------------------------------------------------------------------------------------------------

QueueClient::QueueClient(QueueClientSettings settings)
    : settings_(std::move(settings)),
      connection_(parse_redis_url(settings_.url, settings_.password), settings_.timeouts, "audiobookctl") {}

void QueueClient::connect() {
  connection_.connect();
  const RedisValue found = connection_.command({"GET", key("protocol")});
  if (!found.is_nil()) // absent: no worker was there yet
    require_protocol(found.text, settings_.prefix, connection_.endpoint().display());
}

std::string QueueClient::add(std::string_view queue, const std::string& payload) {
  return connection_.command({"XADD", key("q:" + std::string(queue)), "*", "job", payload}).text;
}

std::optional<JobRecord> QueueClient::find(const std::string& id) { return find(std::vector{id}).front(); }

std::vector<std::optional<JobRecord>> QueueClient::find(const std::vector<std::string>& ids) {
  std::vector<std::optional<JobRecord>> records;
  for (std::size_t begin = 0; begin < ids.size(); begin += records_at_once) {
    std::vector<std::vector<std::string>> commands;
    for (std::size_t i = begin; i < std::min(ids.size(), begin + records_at_once); ++i)
      commands.push_back({"HGETALL", key("job:" + ids[i])});
    const std::vector<RedisValue> replies = connection_.pipeline(commands);
    for (std::size_t i = 0; i < replies.size(); ++i) {
      JobRecord record{ids[begin + i], fields_of(replies[i])};
      record.fields.erase("token");
      if (record.state().empty())
        records.emplace_back();
      else
        records.emplace_back(std::move(record));
    }
  }
  return records;
}

std::vector<std::string> QueueClient::open_jobs() { return texts_of(connection_.command({"HVALS", key("index")})); }

std::vector<JobRecord> QueueClient::list(const JobFilter& filter) {
  std::vector<JobRecord> jobs;
  const auto take = [&](const std::vector<std::string>& ids) {
    for (std::optional<JobRecord>& record : find(ids))
      if (record && matches(*record, filter))
        jobs.push_back(std::move(*record));
  };
  const auto newest_first = [](const JobRecord& a, const JobRecord& b) {
    return a.number("created_at") > b.number("created_at");
  };
  if (!filter.states.empty() && std::all_of(filter.states.begin(), filter.states.end(), is_open)) {
    take(open_jobs()); // few, however many have ended
  } else {
    for (std::size_t first = 0; jobs.size() < filter.limit; first += records_at_once) {
      const std::string last = std::to_string(first + records_at_once - 1);
      const auto ids = texts_of(connection_.command({"ZRANGE", key("jobs"), std::to_string(first), last, "REV"}));
      take(ids);
      if (ids.size() < records_at_once)
        break;
    }
  }
  std::stable_sort(jobs.begin(), jobs.end(), newest_first);
  if (jobs.size() > filter.limit)
    jobs.resize(filter.limit);
  return jobs;
}

std::size_t QueueClient::count_untaken() {
  std::int64_t count = -connection_.command({"HLEN", key("index")}).integer;
  for (const std::string_view queue : QueueCounts::names)
    count += connection_.command({"XLEN", key("q:" + std::string(queue))}).integer;
  return static_cast<std::size_t>(std::max<std::int64_t>(count, 0));
}

/// Visits the entries of a stream from the newest to @p oldest, until @p visit returns false.
void QueueClient::newest_first(std::string_view stream, std::string_view oldest, std::string_view at_once,
                               const std::function<bool(const RedisValue&)>& visit) {
  for (std::string from = "+";;) {
    const RedisValue page = connection_.command({"XREVRANGE", key(stream), from, oldest, "COUNT", at_once});
    if (page.list.empty() || !std::all_of(page.list.begin(), page.list.end(), visit))
      return;
    from = "(" + page.list.back().at(0).text;
  }
}

std::vector<JobEvent> QueueClient::events_of(std::string_view id, std::string_view since) {
  std::vector<JobEvent> events;
  newest_first("events", since, events_at_once, [&](const RedisValue& entry) {
    if (JobEvent event = event_of(entry); event.id == id)
      events.push_back(std::move(event));
    return true;
  });
  std::reverse(events.begin(), events.end());
  return events;
}

std::vector<DeadJob> QueueClient::dead(std::size_t limit) {
  std::vector<DeadJob> jobs;
  newest_first("dead", "-", dead_at_once, [&](const RedisValue& entry) {
    const std::string& letter = entry.at(0).text;
    auto fields = fields_of(entry.at(1));
    jobs.push_back({letter, leading_number(letter), fields["id"], fields["queue"], fields["attempts"], fields["error"],
                    fields["job"]});
    return jobs.size() != limit;
  });
  return jobs;
}

// --- The fleet ----------------------------------------------------------------------------------------------------

std::vector<WorkerRecord> QueueClient::workers() {
  const RedisValue registry = connection_.command({"ZRANGE", key("workers"), "0", "-1", "WITHSCORES"});
  std::vector<WorkerRecord> workers;
  for (std::size_t i = 0; i + 1 < registry.list.size(); i += 2) {
    WorkerRecord worker;
    worker.name = registry.list[i].text;
    worker.seen = leading_number(registry.list[i + 1].text);
    worker.info = connection_.command({"GET", key("worker:" + worker.name)}).text;
    worker.draining = exists("drain:" + worker.name);
    workers.push_back(std::move(worker));
  }
  std::sort(workers.begin(), workers.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return workers;
}

QueueStats QueueClient::stats() {
  QueueStats stats;
  stats.paused = exists("paused");
  stats.dead = static_cast<std::size_t>(connection_.command({"XLEN", key("dead")}).integer);
  for (const std::string_view name : QueueCounts::names) {
    QueueStats::One queue;
    queue.name = name;
    queue.paused = exists("paused:" + queue.name);
    stats.queues.push_back(std::move(queue));
  }
  count_open_jobs(stats);
  count_throughput(stats);
  const auto all = workers();
  stats.workers = static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [](const WorkerRecord& worker) { return worker.is_alive(); }));
  return stats;
}

void QueueClient::count_open_jobs(QueueStats& stats) {
  const auto delayed = texts_of(connection_.command({"ZRANGE", key("delayed"), "0", "-1"}));
  const std::set<std::string> is_delayed(delayed.begin(), delayed.end());
  const std::int64_t time = now();
  const auto count = [&](QueueStats::One& queue, const JobRecord& record) {
    if (is_delayed.contains(record.id)) {
      ++queue.delayed;
    } else if (record.state() == "queued") {
      ++queue.waiting;
      const double since = record.number(record.text("ready_at").empty() ? "created_at" : "ready_at");
      queue.oldest_ms = std::max(queue.oldest_ms, time - static_cast<std::int64_t>(since));
    } else {
      ++queue.running;
    }
  };
  for (const std::optional<JobRecord>& record : find(open_jobs()))
    for (QueueStats::One& queue : stats.queues)
      if (record && !record->has_ended() && record->text("queue") == queue.name)
        count(queue, *record);
  for (QueueStats::One& queue : stats.queues) {
    const auto length = static_cast<std::size_t>(connection_.command({"XLEN", key("q:" + queue.name)}).integer);
    const std::size_t known = queue.waiting + queue.running + queue.delayed;
    const std::size_t untaken = length > known ? length - known : 0;
    queue.waiting += untaken;
    stats.untaken += untaken;
  }
}

void QueueClient::count_throughput(QueueStats& stats) {
  const std::int64_t time = now();
  const RedisValue first = connection_.command({"XRANGE", key("events"), "-", "+", "COUNT", "1"});
  const std::int64_t begin = first.list.empty() ? 0 : leading_number(first.at(0).at(0).text);
  stats.window_ms = std::min(hour_ms, time - begin);
  const std::string oldest = std::to_string(time - stats.window_ms);
  newest_first("events", oldest, events_at_once, [&](const RedisValue& entry) {
    if (const JobEvent event = event_of(entry); event.event == "done") {
      ++stats.done;
      stats.audio_seconds += audio_seconds_of(event.detail);
    }
    return true;
  });
}

// --- Commands -----------------------------------------------------------------------------------------------------

std::string QueueClient::last_event() {
  const RedisValue found = connection_.command({"XREVRANGE", key("events"), "+", "-", "COUNT", "1"});
  return found.list.empty() ? "0-0" : found.at(0).at(0).text;
}

std::string QueueClient::give(const ControlCommand& command) {
  const std::string stream = key("control");
  if (command.field.empty())
    return connection_.command({"XADD", stream, "*", "cmd", command.name}).text;
  return connection_.command({"XADD", stream, "*", "cmd", command.name, command.field, command.subject}).text;
}

std::vector<ControlOutcome> QueueClient::carry_out(const std::vector<ControlCommand>& commands, milliseconds timeout,
                                                   const std::function<void()>& on_wait) {
  std::string seen = last_event();
  Awaited awaited;
  for (const ControlCommand& command : commands)
    awaited.add(command, give(command));
  auto deadline = std::chrono::steady_clock::now() + timeout;
  while (awaited.missing() > 0 && std::chrono::steady_clock::now() < deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    const milliseconds block = std::clamp(left, milliseconds(1), longest_wait_for_events);
    const RedisValue news = connection_.command(
        {"XREAD", "COUNT", events_at_once, "BLOCK", std::to_string(block.count()), "STREAMS", key("events"), seen},
        block);
    if (news.is_nil()) {
      on_wait();
      continue;
    }
    for (const RedisValue& entry : news.at(0).at(1).list) {
      seen = entry.at(0).text;
      if (awaited.take(event_of(entry)))
        deadline = std::chrono::steady_clock::now() + timeout;
    }
  }
  return awaited.outcomes();
}

std::int64_t QueueClient::now() {
  const RedisValue time = connection_.command({"TIME"});
  return leading_number(time.at(0).text) * 1000 + leading_number(time.at(1).text) / 1000;
}

bool QueueClient::exists(std::string_view name) { return connection_.command({"EXISTS", key(name)}).integer == 1; }

} // namespace audiobookd::jobs
