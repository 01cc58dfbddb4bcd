// A few threads that work off tasks which must not hold up whoever brings them. Tasks of one lane run one after the
// other in the order they came; lanes run beside each other.
//
// All functions may be called from any thread, but only push() and is_full() from a task.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace audiobookd::daemon {

class TaskLanes {
public:
  /// @param threads one lane each. @param bound is_full() from so many waiting or running tasks on.
  /// @param after_task called by a lane's thread when a task has ended and is counted no more; must not throw.
  TaskLanes(std::size_t threads, std::size_t bound, std::function<void()> after_task);
  /// Finishes what was pushed.
  ~TaskLanes();
  TaskLanes(const TaskLanes&) = delete;
  TaskLanes& operator=(const TaskLanes&) = delete;

  /// Never blocks and never refuses: whoever pushes asks is_full() before he takes on more work.
  /// @param selector tasks with the same selector share a lane. @param task must not throw.
  void push(std::size_t selector, std::function<void()> task);
  [[nodiscard]] bool is_full() const;
  /// Blocks until no task is waiting or running.
  void wait_idle();

private:
  struct Lane {
    std::deque<std::function<void()>> tasks; // protected by mutex_
    std::condition_variable_any wake;
  };
  void work(std::stop_token stop, Lane& lane);

  const std::size_t bound_;
  const std::function<void()> after_task_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::size_t unfinished_ = 0; // protected by mutex_
  std::deque<Lane> lanes_;
  std::vector<std::jthread> threads_;
};

} // namespace audiobookd::daemon
