// The queue on Redis Streams, as jobs/PROTOCOL.md describes it.
//
// Every function may be called from any thread: one mutex guards the connection for commands, another the one that
// wait_for_work() blocks on.
#pragma once

#include "jobs/queue.h"
#include "jobs/redis_connection.h"

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

struct RedisScript;

/// Everything that can be set about the queue. Tests scale the periods; lease must be at least three heartbeats.
struct RedisQueueSettings {
  std::string url = "redis://127.0.0.1:6379";   ///< see parse_redis_url()
  std::string password;                         ///< replaces the URL's if not empty: secrets stay out of config files
  std::string prefix = "tts:";                  ///< of every key; "{tts}:" on a cluster
  std::string worker;                           ///< this worker's name, unique in the fleet; empty: a random UUID
  std::chrono::milliseconds heartbeat{5'000};   ///< period in which the caller calls heartbeat() and announce()
  std::chrono::milliseconds lease{30'000};      ///< silence after which a worker is taken for dead
  std::chrono::milliseconds retry_base{10'000}; ///< wait before the second attempt; doubles from then on
  std::chrono::milliseconds retry_longest{600'000};   ///< longest wait between attempts
  std::chrono::milliseconds suspect_patience{60'000}; ///< how long a suspect waits before a busy worker empties itself
  std::chrono::milliseconds max_wait{3'600'000}; ///< in a lower queue, before a job goes before all queues; 0: for ever
  std::chrono::seconds worker_ttl{60};           ///< life of a registration without announce()
  std::chrono::seconds ended_retention{30 * 86400}; ///< how long done and cancelled jobs stay visible
  std::chrono::seconds idempotency_retention{7 * 86400};
  RedisTimeouts timeouts;

  /// Every period above but the retentions times @p factor: heartbeat, lease, retries, patience, registration and
  /// time-outs. For tests.
  void scale_periods(double factor);
};

class RedisQueue final : public Queue {
public:
  /// Does not connect. @throws QueueError on settings that cannot work.
  explicit RedisQueue(RedisQueueSettings settings);

  /// Connects and checks the server; the other functions do the same when they find no connection.
  /// @return what about the server's configuration endangers jobs, for the log.
  /// @throws QueueUnavailable, QueueError (also when the queue is of another protocol version).
  std::vector<std::string> connect();

  [[nodiscard]] const std::string& worker() const noexcept { return settings_.worker; }

  std::vector<IntakeReport> intake() override;
  using Queue::claim;
  std::optional<ClaimedJob> claim(std::string_view lowest) override;
  std::optional<ClaimedJob> claim_short(std::string_view lowest) override;
  LeaseState heartbeat(const Lease& lease, const Progress& progress) override;
  LeaseState begin_commit(const Lease& lease, std::string_view fingerprint) override;
  LeaseState complete(const Lease& lease, std::string_view result_json) override;
  FailureOutcome fail(const Lease& lease, std::string_view error, FailureKind kind) override;
  LeaseState release(const Lease& lease) override;
  LeaseState release_as_long(const Lease& lease) override;
  std::vector<ReclaimReport> reclaim() override;
  std::size_t promote() override;
  std::vector<ControlReport> poll_control() override;
  WorkerOrder announce(std::string_view info_json) override;
  void retire() override;
  std::vector<std::string> states(std::span<const std::string> ids) override;
  std::vector<std::string> purged() override;
  bool wait_for_work(std::chrono::milliseconds timeout) override;
  QueueCounts counts() override;

private:
  std::optional<ClaimedJob> claim(std::string_view lowest, std::string_view only_short);
  LeaseState release(const Lease& lease, std::string_view is_long);
  // All of these need mutex_ to be held.
  std::vector<std::string> prepare();
  void check_protocol();
  RedisConnection& connected();
  RedisValue run(const RedisScript& script, const std::vector<std::string>& arguments);
  IntakeReport register_entry(std::string_view queue, const std::string& entry, const std::string* payload,
                              bool advance);
  std::optional<ClaimedJob> accept(const RedisValue& reply, const std::string& token);
  std::string fail_lease(const Lease& lease, std::string_view error, FailureKind kind);
  LeaseState keep_lease(const Lease& lease, const std::vector<std::string>& phase_progress_eta_commit,
                        const std::string& first_audio_ms);
  [[nodiscard]] bool runs_suspect() const;

  [[nodiscard]] std::string key(std::string_view name) const { return settings_.prefix + std::string(name); }

  RedisQueueSettings settings_;

  std::mutex mutex_;
  RedisConnection connection_;                         ///< Protected by #mutex_
  std::chrono::steady_clock::time_point reclaim_from_; ///< Protected by #mutex_. See Queue::reclaim()
  std::map<std::string, bool, std::less<>> held_;      ///< Protected by #mutex_. Tokens of open leases: is it a suspect
  std::string claim_token_;         ///< Protected by #mutex_. Of a claim whose reply did not arrive; else empty
  std::string last_purged_ = "0-0"; ///< Protected by #mutex_. Entry of `purged` up to which was read

  std::mutex wait_mutex_;
  RedisConnection wait_connection_; ///< Protected by #wait_mutex_
};

} // namespace audiobookd::jobs
