// Looking, and pausing when the queue is away.
#include "daemon/queue_watch.h"

#include <utility>

namespace audiobookd::daemon {

QueueWatch::QueueWatch(jobs::Queue& queue, std::chrono::milliseconds period, std::function<void()> on_news)
    : queue_(queue), period_(period), on_news_(std::move(on_news)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void QueueWatch::look() {
  const std::lock_guard lock(mutex_);
  looking_ = true;
  news_ = false;
  wake_.notify_all();
}

void QueueWatch::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return looking_; })) {
    lock.unlock();
    bool found = false;
    bool failed = false;
    try {
      found = queue_.wait_for_work(period_);
    } catch (const std::exception&) {
      failed = true;
    }
    lock.lock();
    if (failed) {
      wake_.wait_for(lock, stop, period_, [] { return false; });
    } else if (found) {
      looking_ = false;
      news_ = true;
      lock.unlock();
      on_news_();
      lock.lock();
    }
    if (stop.stop_requested()) {
      return;
    }
  }
}

} // namespace audiobookd::daemon
