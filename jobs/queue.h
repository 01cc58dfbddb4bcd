// The queue as the daemon sees it: jobs are claimed under a lease, kept by heartbeats, and finished, failed or
// released.
//
// Every function may be called from any thread. jobs/PROTOCOL.md says what each of them means in Redis; a test may
// stand in a queue of its own.
#pragma once

#include "jobs/job.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// The queue cannot be reached or cannot answer now (connection refused or timed out, loading, read-only replica).
/// Transient: the caller waits a little, longer each time, and calls again. Leases live on meanwhile.
class QueueUnavailable : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The queue refuses what this program asks (wrong password, missing permission, foreign protocol version, bad URL).
/// Permanent: a person has to act.
class QueueError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The right to render one job. Valid until the lease time has passed without a heartbeat, or the job ends.
struct Lease {
  std::string id;       ///< of the job
  std::string owner;    ///< worker that holds it
  std::string token;    ///< secret of this claim; every later call proves itself with it
  int attempt = 1;      ///< 1 for the first; released and crashed-in-company runs are not counted
  bool suspect = false; ///< its worker died before: it runs alone, claim() gives nothing else until it ended
};

struct ClaimedJob {
  Job job;
  Lease lease;
  std::string payload = {};     ///< the job's JSON as it was added
  std::string queue = "normal"; ///< that it was added to: one of QueueCounts::names
  /// What an earlier run passed to begin_commit() before it vanished; empty if none came so far. If the output is what
  /// this describes, the job only needs complete().
  std::string previous_commit;
  /// It waited in a lower queue for longer than the queue allows: it is served as if it had come from the highest.
  bool overdue = false;
};

struct Progress {
  double fraction = 0;           ///< [0, 1]
  std::optional<double> eta_s{}; ///< seconds still needed, if known
  /// How long after the claim the first utterance was rendered, if it was.
  std::optional<std::chrono::milliseconds> first_audio{};
};

/// Whether the caller still owns a job.
enum class LeaseState {
  held,     ///< go on
  lost,     ///< another worker has it, or it is gone: stop, publish nothing
  cancelled ///< a user cancelled it, and this call has ended it: stop, publish nothing
};

enum class FailureKind {
  transient, ///< tried again later, until max_attempts
  permanent, ///< buried
  /// The device failed while it worked on this job and perhaps others, so that this worker has to end: held against the
  /// job as if the worker had died. It runs alone from now on, and only crashes while alone count as attempts.
  crash
};

enum class FailureOutcome {
  retry,     ///< waits for its next attempt
  dead,      ///< buried with the error
  lost,      ///< was not ours any more; nothing changed
  cancelled, ///< a user had cancelled it
};

/// One new entry that was registered.
struct IntakeReport {
  std::string id;     ///< of the job
  std::string queue;  ///< "high", "normal" or "low"
  std::string state;  ///< "queued", "dead" or "duplicate"
  std::string reason; ///< why dead or of which job a duplicate; empty when queued
};

/// One job whose worker stopped sending heartbeats.
struct ReclaimReport {
  std::string id;
  std::string owner; ///< the worker that vanished
  std::string state; ///< "queued" (as a suspect), "dead" or "cancelled"
};

/// One command of a user that was carried out.
struct ControlReport {
  std::string command; ///< "cancel", "retry", "purge", "pause", "resume", "drain" or what was written
  std::string subject; ///< job id, queue or worker; empty: everything
  std::string outcome; ///< "cancelled", "requested", "requeued", "paused", …, or why nothing was done
};

/// What a worker is to do.
enum class WorkerOrder {
  work,
  drain ///< finish the open jobs, claim no more, retire and end
};

struct QueueCounts {
  static constexpr std::array<std::string_view, 3> names = {"high", "normal", "low"}; ///< strict order
  struct One {
    std::size_t open = 0;    ///< jobs that have not ended, running ones included
    std::size_t running = 0; ///< leased to a worker
    bool paused = false;
  };
  std::array<One, 3> queues; ///< in the order of names
  std::size_t delayed = 0;   ///< waiting for a retry or for their not_before; contained in open
  std::size_t dead = 0;
  bool paused = false; ///< everything is
};

/// Whether a job whose record shows this state is over: it changes no more, unless a person revives it.
[[nodiscard]] inline bool is_final_state(std::string_view state) {
  return state == "done" || state == "dead" || state == "cancelled";
}

class Queue {
public:
  virtual ~Queue() = default;

  // All functions throw QueueUnavailable or QueueError. After QueueUnavailable a call may or may not have taken
  // effect; every one of them may simply be repeated.

  /// Makes new entries visible: validates them and gives each a job record, buries malformed ones, drops duplicates.
  /// At most a few dozen entries a call; empty when nothing was new. Call at least once a second, busy or idle.
  virtual std::vector<IntakeReport> intake() = 0;

  /// The next job in strict priority order, those that waited too long before all others, leased to this worker;
  /// nothing if none is ready, everything is paused, or this worker runs a suspect or is to drain. Registers and buries
  /// on the way what it must.
  /// @param lowest the last of QueueCounts::names that is looked at.
  /// Every lease must be ended by complete(), fail() or release(), or kept until a call says it is lost or cancelled:
  /// whether this worker is idle, and may run a suspect, is known from its open leases.
  virtual std::optional<ClaimedJob> claim(std::string_view lowest) = 0;
  std::optional<ClaimedJob> claim() { return claim(QueueCounts::names.back()); }

  /// As claim(), for a worker that has room for a short job only: passes over those known to be long.
  virtual std::optional<ClaimedJob> claim_short(std::string_view lowest) = 0;

  /// Keeps the lease and tells users how far it is. Call every heartbeat period, for each lease.
  virtual LeaseState heartbeat(const Lease& lease, const Progress& progress) = 0;

  /// The point of no return, called before the staged output is published: from here on a cancel comes too late.
  /// @param fingerprint describes the staged output; a successor finds it in ClaimedJob::previous_commit.
  /// Publish only if this returns held.
  virtual LeaseState begin_commit(const Lease& lease, std::string_view fingerprint) = 0;

  /// The output is published. @param result_json a JSON object for people and scripts.
  /// @return held, also if this very call was made before; lost if the lease was not ours.
  virtual LeaseState complete(const Lease& lease, std::string_view result_json) = 0;

  /// The attempt failed: see FailureKind.
  virtual FailureOutcome fail(const Lease& lease, std::string_view error, FailureKind kind) = 0;

  /// Gives the job back unfinished, to be claimed again at once by anyone. Uses up no attempt.
  /// @return held if it was ours (it no longer is), cancelled if a user had cancelled it.
  virtual LeaseState release(const Lease& lease) = 0;

  /// As release(), for a job of claim_short() that is long, as it turned out: from now on it waits for a worker with
  /// room for it, in its turn.
  virtual LeaseState release_as_long(const Lease& lease) = 0;

  /// Takes jobs away from workers that are silent for longer than the lease. Does nothing for one lease time after
  /// each (re)connect, because leases also age while the queue itself is down. Call every second or so.
  virtual std::vector<ReclaimReport> reclaim() = 0;

  /// Makes delayed jobs whose time has come ready. @return how many. Call every second or so.
  virtual std::size_t promote() = 0;

  /// Carries out what users wrote into the control stream (cancel, retry, purge, pause, …). Call every second or so.
  virtual std::vector<ControlReport> poll_control() = 0;

  /// Says that this worker lives. @param info_json a JSON object: host, pid, model, … Call every heartbeat period.
  virtual WorkerOrder announce(std::string_view info_json) = 0;

  /// Removes this worker's registration (clean stop). Leases are not touched.
  virtual void retire() = 0;

  /// The state of each of these jobs, as in its record: "queued", "running", "committing", "retry_wait", "done",
  /// "dead", "cancelled"; empty: there is no such job (any more).
  virtual std::vector<std::string> states(std::span<const std::string> ids) = 0;

  /// Jobs that were purged since this was called last, some at a time: call it every second or so. The first calls tell
  /// of all that are remembered, as long as ended jobs are. Whoever keeps something of them removes it. A job may have
  /// been added anew meanwhile.
  virtual std::vector<std::string> purged() = 0;

  /// Blocks until there is something to take in or to carry out, or @p timeout passed. Released and reclaimed jobs do
  /// not wake it: poll as well. Does not hold up calls from other threads. @return false on timeout.
  virtual bool wait_for_work(std::chrono::milliseconds timeout) = 0;

  virtual QueueCounts counts() = 0;
};

} // namespace audiobookd::jobs
