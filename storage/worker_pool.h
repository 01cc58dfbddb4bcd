// Threads that work off pieces of many files, first come, first served. Any thread may submit, but not a task.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace audiobookd::storage {

class WorkerPool {
public:
  /// @param num_threads at least 1. @throws std::invalid_argument
  explicit WorkerPool(int num_threads);
  /// Finishes the tasks that run. Those that wait are dropped: their futures say std::future_errc::broken_promise.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// Never blocks: whoever submits bounds how much he has outstanding. @p task owns what it works on, because nobody
  /// needs to wait for the future, which holds what it returns or throws.
  template <typename Task>
  [[nodiscard]] std::future<std::invoke_result_t<Task>> submit(Task task) {
    auto packaged = std::make_shared<std::packaged_task<std::invoke_result_t<Task>()>>(std::move(task));
    auto result = packaged->get_future();
    push([packaged] { (*packaged)(); });
    return result;
  }
  [[nodiscard]] std::size_t num_threads() const noexcept { return threads_.size(); }
  /// Whether more tasks wait than there are threads.
  [[nodiscard]] bool is_busy() const;

private:
  void push(std::function<void()> task);
  void work(std::stop_token stop);

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::function<void()>> waiting_; // protected by mutex_
  std::vector<std::jthread> threads_;         // last: they use everything above
};

/// Threads of a pool beside an engine: all cores but two, for the threads that feed the device; 1 to 32.
[[nodiscard]] int default_worker_threads() noexcept;

} // namespace audiobookd::storage
