#include "storage/worker_pool.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace audiobookd::storage {

WorkerPool::WorkerPool(int num_threads) {
  if (num_threads < 1) {
    throw std::invalid_argument("a worker pool needs at least 1 thread, not " + std::to_string(num_threads));
  }
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([this](std::stop_token stop) { work(stop); });
  }
}

WorkerPool::~WorkerPool() {
  for (std::jthread& thread : threads_) {
    thread.request_stop();
  }
}

void WorkerPool::push(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(task));
  }
  wake_.notify_one();
}

bool WorkerPool::is_busy() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size() > threads_.size();
}

void WorkerPool::work(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return !waiting_.empty(); }) && !stop.stop_requested()) {
    const std::function<void()> task = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

int default_worker_threads() noexcept {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) - 2, 1, 32);
}

} // namespace audiobookd::storage
