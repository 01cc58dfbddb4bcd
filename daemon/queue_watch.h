// Watches the queue for new entries and commands, on a thread of its own, so that whoever serves the queue can wait for
// them and for other things at the same time.
//
// All functions may be called from any thread.
#pragma once

#include "jobs/queue.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

namespace audiobookd::daemon {

class QueueWatch {
public:
  /// @param period for which a look blocks in the queue, and so the end of this object; also the pause after an error.
  /// @param on_news called on the thread of this object when has_news() became true; must not throw.
  QueueWatch(jobs::Queue& queue, std::chrono::milliseconds period, std::function<void()> on_news);

  /// Looks from now on, until there is something to take in or to carry out. Errors of the queue are no news: who uses
  /// it hears of them from its own calls.
  void look();
  [[nodiscard]] bool has_news() const noexcept { return news_; }

private:
  void run(const std::stop_token& stop);

  jobs::Queue& queue_;
  const std::chrono::milliseconds period_;
  const std::function<void()> on_news_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool looking_ = false; // protected by mutex_
  std::atomic<bool> news_{false};
  std::jthread thread_; // last: uses everything above
};

} // namespace audiobookd::daemon
