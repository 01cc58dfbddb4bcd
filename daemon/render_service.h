// The daemon proper: takes jobs from the queue, runs them side by side on one engine, keeps their leases, and stops in
// an orderly way.
//
// Threads: run() belongs to one thread and starts one for the engine and one for each open job; set_limits() may be
// called from any.
#pragma once

#include "daemon/engine_thread.h"
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
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// What can change while the service runs.
struct ServiceLimits {
  int max_jobs = 8;                        ///< open at once
  int extra_high_jobs = 4;                 ///< besides these, of the queue "high"
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
};

struct ServiceSettings {
  JobDefaults defaults;
  std::chrono::milliseconds heartbeat{5'000};
  ServiceLimits limits;
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
  struct OpenJob {
    std::unique_ptr<RenderJob> job;
    double fraction = 0; ///< done, at the last heartbeat
    int logged_tenths = 0;
  };

  void serve(std::stop_token stop);
  void connect();
  void wait_for_queue(const std::string& why, std::stop_token stop);
  void maintain_queue();
  void claim_jobs(const std::stop_token& stop);
  void heartbeat_when_due();
  void heartbeat(OpenJob& open);
  [[nodiscard]] bool is_open(const std::string& id) const;
  void close_finished_jobs();
  void watch_progress();
  void drain();
  void notify_changed();
  void await_open_jobs(Clock::time_point deadline);
  void say_goodbye();
  [[nodiscard]] std::string describe_progress() const;
  [[nodiscard]] std::string describe_worker() const;

  const ServiceParts parts_;
  const std::chrono::milliseconds heartbeat_;
  std::atomic<int> max_jobs_;
  std::atomic<int> extra_high_jobs_;
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
  std::condition_variable_any changed_; // a job or the engine has ended
  EngineThread engine_;
  std::vector<OpenJob> open_jobs_; // last: their threads use everything above
};

} // namespace audiobookd::daemon
