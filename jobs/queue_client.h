// The queue as people see it: jobs are added, looked at and followed, commands are given. The other side is queue.h.
//
// It speaks the part of jobs/PROTOCOL.md that a producer may: it writes the streams q:* and control, reads records and
// lists, runs no script and touches no lease. A QueueClient, and a JobSubscription, is used by one thread at a time.
#pragma once

#include "jobs/redis_connection.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

struct QueueClientSettings {
  std::string url = "redis://127.0.0.1:6379"; ///< see parse_redis_url()
  std::string password{};                     ///< replaces the URL's if not empty
  std::string prefix = "tts:";                ///< of every key
  RedisTimeouts timeouts{};
};

/// A job's record. Which fields there are is in PROTOCOL.md; the hash of the lease's token is left out.
struct JobRecord {
  std::string id;
  std::map<std::string, std::string, std::less<>> fields;

  /// Empty if there is none.
  [[nodiscard]] std::string_view text(std::string_view field) const;
  /// 0 if there is none or it is no number.
  [[nodiscard]] double number(std::string_view field) const;
  [[nodiscard]] std::string_view state() const { return text("state"); }
  [[nodiscard]] bool has_ended() const;
};

/// Something that happened.
struct JobEvent {
  std::string entry;   ///< id in the stream `events`; empty for one that came over a channel
  std::int64_t at = 0; ///< milliseconds since 1970
  std::string id;      ///< of the job, or what a command was about
  std::string event;
  std::string detail;
  std::string command; ///< of an event `control`: id of the entry in the stream `control`
  double progress = 0; ///< of an event `progress`
  std::string eta;     ///< of an event `progress`: seconds, or empty
};

/// A job that failed for good.
struct DeadJob {
  std::string entry;   ///< id in the stream `dead`
  std::int64_t at = 0; ///< when it was buried, milliseconds since 1970
  std::string id;
  std::string queue;
  std::string attempts;
  std::string error;
  std::string payload; ///< the job's JSON as it was added
};

struct WorkerRecord {
  std::string name;
  std::string info;      ///< the JSON it describes itself with; empty: it is silent for so long that it was forgotten
  std::int64_t seen = 0; ///< when it last said that it lives, milliseconds since 1970
  bool draining = false;

  [[nodiscard]] bool is_alive() const { return !info.empty(); }
};

/// Which jobs list() returns. What is empty does not matter.
struct JobFilter {
  std::vector<std::string> states;
  std::string queue;
  std::size_t limit = 50;
};

struct QueueStats {
  struct One {
    std::string name;
    std::size_t waiting = 0; ///< ready to be rendered, or not yet taken in
    std::size_t running = 0;
    std::size_t delayed = 0;    ///< wait for their next attempt or their not_before
    std::int64_t oldest_ms = 0; ///< how long the oldest of the waiting has waited
    bool paused = false;
  };
  std::vector<One> queues; ///< high, normal, low
  std::size_t untaken = 0; ///< entries that no worker has looked at yet; contained in waiting
  std::size_t dead = 0;
  bool paused = false;        ///< everything is
  std::size_t workers = 0;    ///< alive
  std::size_t done = 0;       ///< jobs of the last hour, or as far back as events reach
  double audio_seconds = 0;   ///< of these
  std::int64_t window_ms = 0; ///< the time that done and audio_seconds are of
};

/// A command for the stream `control`.
struct ControlCommand {
  std::string name;  ///< "cancel", "retry", "purge", "pause", "resume", "drain"
  std::string field; ///< what subject is: "id", "queue", "worker"; empty: everything
  std::string subject;
};

/// What came of a command.
struct ControlOutcome {
  ControlCommand command;
  std::optional<std::string> outcome; ///< the worker's word for it; nothing: not carried out in time
  /// Whether the outcome says that it was done, not why it was not.
  [[nodiscard]] bool is_success() const;
};

/// Messages about some jobs, on a connection of their own. They may be lost (a new connection starts after what was
/// sent before): look at the records as well.
class JobSubscription {
public:
  /// @throws QueueUnavailable, QueueError as RedisConnection::command().
  JobSubscription(const QueueClientSettings& settings, const std::vector<std::string>& ids);

  /// The next message; nothing if none comes within @p timeout. @throws QueueUnavailable if the connection broke.
  std::optional<JobEvent> next(std::chrono::milliseconds timeout);

private:
  RedisConnection connection_;
};

class QueueClient {
public:
  /// Does not connect. @throws QueueError on a URL that cannot be understood.
  explicit QueueClient(QueueClientSettings settings);

  // All functions below throw QueueUnavailable or QueueError, as RedisConnection::command().

  /// Connects and checks that the queue is of this program's protocol version. @throws QueueError if it is not.
  void connect();

  /// Adds a job, JSON that parse_job() accepts, to "high", "normal" or "low".
  /// @return the id of its stream entry, which is the id of a job that names none.
  std::string add(std::string_view queue, const std::string& payload);

  /// The record of a job; nothing if there is none (yet).
  std::optional<JobRecord> find(const std::string& id);
  std::vector<std::optional<JobRecord>> find(const std::vector<std::string>& ids);

  /// Jobs that have a record, the newest first.
  std::vector<JobRecord> list(const JobFilter& filter);

  /// How many stream entries no worker has made a job of yet.
  std::size_t count_untaken();

  /// What happened to a job, the oldest first, as far back as the queue remembers.
  /// @param since leaves out events with a smaller id than this.
  std::vector<JobEvent> events_of(std::string_view id, std::string_view since = "-");

  /// Jobs that failed for good, the newest first. @param limit 0: all.
  std::vector<DeadJob> dead(std::size_t limit);

  /// All workers that were heard of lately, by name.
  std::vector<WorkerRecord> workers();

  QueueStats stats();

  /// Gives commands and waits until workers carried them out. @param timeout without any outcome, after which it gives
  /// up waiting (the commands stay in the queue). @param on_wait is called about once a second meanwhile.
  std::vector<ControlOutcome> carry_out(const std::vector<ControlCommand>& commands, std::chrono::milliseconds timeout,
                                        const std::function<void()>& on_wait);

  /// Messages about @p ids from now on.
  [[nodiscard]] std::unique_ptr<JobSubscription> subscribe(const std::vector<std::string>& ids) const {
    return std::make_unique<JobSubscription>(settings_, ids);
  }

  /// The server's clock, milliseconds since 1970.
  std::int64_t now();

  [[nodiscard]] const RedisEndpoint& endpoint() const noexcept { return connection_.endpoint(); }

private:
  [[nodiscard]] std::string key(std::string_view name) const { return settings_.prefix + std::string(name); }
  [[nodiscard]] bool exists(std::string_view name);
  std::vector<std::string> open_jobs();
  void newest_first(std::string_view stream, std::string_view oldest, std::string_view at_once,
                    const std::function<bool(const RedisValue&)>& visit);
  std::string last_event();
  std::string give(const ControlCommand& command);
  void count_open_jobs(QueueStats& stats);
  void count_throughput(QueueStats& stats);

  QueueClientSettings settings_;
  RedisConnection connection_;
};

} // namespace audiobookd::jobs
