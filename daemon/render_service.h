// The daemon proper: takes jobs from the queue, runs them side by side on one engine, keeps their leases, and stops in
// an orderly way.
//
// Threads: run() belongs to one thread and starts one for the engine and one for each open job; set_limits() may be
// called from any.
#pragma once

#include "daemon/engine_thread.h"
#include "daemon/queue_watch.h"
#include "daemon/render_job.h"
#include "daemon/renderer.h"
#include "daemon/store_keeper.h"
#include "daemon/systemd.h"
#include "daemon/utterance_pool.h"
#include "jobs/queue.h"
#include "storage/chunk_store.h"
#include "storage/storage.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// What can change while the service runs.
///
/// Places. A job needs one as long as it is open. max_jobs places are for jobs of any length; when they are taken, the
/// daemon goes on through the queue with the others, which only short jobs keep: a long one is given back, without an
/// attempt, and waits for a place of the first kind here or elsewhere. Whoever holds a place from a lower queue does
/// not count: jobs of the queue "high" find as many places as if no others were open.
struct ServiceLimits {
  int max_jobs = 8;                        ///< of any length, in each queue and those above
  int short_jobs = 8;                      ///< besides these, short ones
  std::chrono::minutes short_length{10};   ///< of audio at most: a short job
  std::chrono::milliseconds drain{60'000}; ///< for work in flight when told to stop
};

/// What a service works with. Everything outlives it.
struct ServiceParts {
  jobs::Queue& queue;
  /// Connects the queue; called before its first use and whenever it was unavailable. @return warnings for the log.
  /// Throws as jobs::Queue.
  std::function<std::vector<std::string>()> connect_queue;
  Renderer& renderer;
  storage::ChunkStore& store;
  const storage::Storage& storage;
  const ClipVoices& clips;
  ServiceManager& manager;
  storage::WorkerPool& encoders;
  /// Called at the end of run() if a job's thread still hangs, say in a file system that does not answer: ends the
  /// process, as nothing else can. Everything that can be told to the queue has been.
  std::function<void()> give_up = [] { std::_Exit(1); };
};

/// How often and how long.
struct ServicePeriods {
  std::chrono::milliseconds heartbeat{5'000};
  /// Longest wait for new work before the queue is looked at anyway.
  std::chrono::milliseconds poll{500};
  /// How often delayed jobs and silent workers are looked for.
  std::chrono::milliseconds upkeep{1'000};
  std::chrono::milliseconds first_queue_wait{100};
  /// Well below any sensible watchdog period: it is fed between the attempts.
  std::chrono::milliseconds longest_queue_wait{2'000};
  /// Longest wait of a job's thread before it asks again a queue that did not answer.
  std::chrono::milliseconds longest_job_wait{5'000};
  /// How often the queue is asked which jobs of the chunk store are over.
  std::chrono::milliseconds review{60'000};
  /// How long a job's thread may take to end after it was told to: the time of files and processors.
  std::chrono::milliseconds hang{10'000};
  /// See ProgressWatch.
  std::chrono::milliseconds standstill = ProgressWatch::least_patience;
};

/// The usual periods with another @p heartbeat, all but `hang` times @p factor, none below a millisecond.
[[nodiscard]] ServicePeriods scaled_periods(std::chrono::milliseconds heartbeat, double factor);

struct ServiceSettings {
  JobDefaults defaults;
  ServicePeriods periods;
  ServiceLimits limits;
  GateOptions gates = {}; ///< nothing: every utterance is taken as it comes
};

class RenderService {
public:
  /// Starts the engine.
  RenderService(const ServiceParts& parts, const ServiceSettings& settings);

  /// Renders jobs until @p stop is requested, then finishes or releases what is open; or until the queue orders this
  /// worker to drain and the open jobs are over. Call once. A queue that is unavailable is waited for, while rendering
  /// goes on.
  /// @throws jobs::QueueError when the queue refuses this program; std::runtime_error when the engine's device failed.
  /// In both cases open jobs were released as far as possible, those that the device was working on with blame.
  void run(std::stop_token stop);

  void set_limits(const ServiceLimits& limits);

private:
  using Clock = std::chrono::steady_clock;
  enum class Place { any_length, short_only };
  struct OpenJob {
    std::unique_ptr<RenderJob> job;
    Place place = Place::any_length;
    std::size_t rank = 0; ///< of its queue: index of QueueCounts::names
    double fraction = 0;  ///< done, at the last heartbeat
    int logged_tenths = 0;

    [[nodiscard]] bool is_over() const { return job->is_over(); }
  };

  void serve(std::stop_token stop);
  void connect();
  void wait_for_queue(const std::string& why, std::stop_token stop);
  void wait_for_news(const std::stop_token& stop);
  void maintain_queue();
  void claim_jobs(const std::stop_token& stop);
  bool claim_one(Place place, int places);
  [[nodiscard]] std::optional<std::size_t> lowest_rank_with_room(Place place, int places) const;
  void heartbeat_when_due();
  void heartbeat(OpenJob& open);
  [[nodiscard]] bool is_open(const std::string& id) const;
  void close_finished_jobs();
  void watch_progress();
  void drain();
  void notify_changed();
  void await_open_jobs(Clock::time_point deadline);
  void release_hanging_jobs();
  void say_goodbye();
  [[nodiscard]] std::string describe_progress() const;
  [[nodiscard]] std::string describe_worker() const;

  const ServiceParts parts_;
  const ServicePeriods periods_;
  std::atomic<int> max_jobs_;
  std::atomic<int> short_jobs_;
  std::atomic<std::chrono::minutes> short_length_;
  std::atomic<std::chrono::milliseconds> drain_;
  UtterancePool pool_;
  const JobSurroundings surroundings_;
  StoreKeeper keeper_;
  std::vector<ProgressWatch> watches_; // of each device
  Clock::time_point next_heartbeat_{};
  Clock::time_point next_upkeep_{};
  std::chrono::milliseconds queue_wait_{0}; // 0: the queue answered last time
  bool connected_ = false;
  bool drained_ = false;        // by the queue: nothing more is claimed
  bool memory_ran_out_ = false; // and the log says so

  std::mutex mutex_;                    // of changed_
  std::condition_variable_any changed_; // a job or the engine has ended, or there is news in the queue
  QueueWatch watch_;
  EngineThread engine_;
  std::vector<OpenJob> open_jobs_; // last: their threads use everything above
};

} // namespace audiobookd::daemon
