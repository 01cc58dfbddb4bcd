// Keeps the chunk store in step with the queue: what it holds for jobs that ended elsewhere is given up, and jobs that
// were purged are forgotten.
//
// One thread at a time.
#pragma once

#include "jobs/queue.h"
#include "storage/chunk_store.h"

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace audiobookd::daemon {

class StoreKeeper {
public:
  /// @param period how often claims are reviewed; purged jobs are looked for whenever keep_up() is called.
  StoreKeeper(jobs::Queue& queue, storage::ChunkStore& store, std::chrono::milliseconds period)
      : queue_(queue), store_(store), period_(period) {}

  /// Does what is due. Call every second or so. @param is_open jobs that this process works on: they are left alone.
  /// @throws as jobs::Queue; errors of the store are logged, and what failed is tried again in the next period.
  void keep_up(const std::function<bool(const std::string&)>& is_open);

private:
  using IsOpen = std::function<bool(const std::string&)>;
  void forget_purged(const IsOpen& is_open);
  void end_claims(const IsOpen& is_open);

  jobs::Queue& queue_;
  storage::ChunkStore& store_;
  const std::chrono::milliseconds period_;
  std::chrono::steady_clock::time_point next_review_{};
  std::set<std::string> to_forget_; // purged
};

} // namespace audiobookd::daemon
