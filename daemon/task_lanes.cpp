// One queue and one thread per lane, all under one mutex: tasks are few and long compared with the locking.
#include "daemon/task_lanes.h"

#include <utility>

namespace audiobookd::daemon {

TaskLanes::TaskLanes(std::size_t threads, std::size_t bound, std::function<void()> after_task)
    : bound_(bound), after_task_(std::move(after_task)) {
  for (std::size_t i = 0; i < threads; ++i) {
    Lane& lane = lanes_.emplace_back();
    threads_.emplace_back([this, &lane](std::stop_token stop) { work(stop, lane); });
  }
}

TaskLanes::~TaskLanes() { wait_idle(); }

void TaskLanes::push(std::size_t selector, std::function<void()> task) {
  const std::lock_guard lock(mutex_);
  Lane& lane = lanes_[selector % lanes_.size()];
  lane.tasks.push_back(std::move(task));
  ++unfinished_;
  lane.wake.notify_one();
}

bool TaskLanes::is_full() const {
  const std::lock_guard lock(mutex_);
  return unfinished_ >= bound_;
}

void TaskLanes::wait_idle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return unfinished_ == 0; });
}

void TaskLanes::work(std::stop_token stop, Lane& lane) {
  std::unique_lock lock(mutex_);
  while (lane.wake.wait(lock, stop, [&lane] { return !lane.tasks.empty(); })) {
    std::function<void()> task = std::move(lane.tasks.front());
    lane.tasks.pop_front();
    lock.unlock();
    task();
    task = nullptr; // what it holds is released before wait_idle() returns
    lock.lock();
    --unfinished_;
    lock.unlock();
    after_task_();
    idle_.notify_all();
    lock.lock();
  }
}

} // namespace audiobookd::daemon
