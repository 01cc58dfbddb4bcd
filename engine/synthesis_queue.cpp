#include "engine/synthesis_queue.h"

#include <algorithm>
#include <cstdlib>

namespace audiobookd::engine {

void SynthesisQueue::push(SynthesisTask task) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void SynthesisQueue::set_draining(bool draining) {
  {
    const std::lock_guard lock(mutex_);
    if (draining_ == draining) {
      return;
    }
    draining_ = draining;
  }
  changed_.notify_all();
}

void SynthesisQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
}

bool SynthesisQueue::remove(UtteranceId id) {
  const std::lock_guard lock(mutex_);
  return waiting_.remove_if([id](const SynthesisTask& task) { return task.id == id; }) > 0;
}

bool SynthesisQueue::full() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size() >= bound_;
}

bool SynthesisQueue::idle() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() && !taken_;
}

bool SynthesisQueue::computing() const {
  const std::lock_guard lock(mutex_);
  return taken_;
}

bool SynthesisQueue::ready() const { return closed_ || waiting_.size() >= batch_ || (draining_ && !waiting_.empty()); }

std::vector<SynthesisTask> SynthesisQueue::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready(); });
  std::vector<SynthesisTask> batch;
  if (waiting_.empty()) {
    return batch;
  }
  const auto length = static_cast<std::ptrdiff_t>(waiting_.front().speech_tokens.size());
  const int steps = waiting_.front().cfm_steps;
  std::vector<std::list<SynthesisTask>::iterator> order;
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    if (it->cfm_steps == steps) {
      order.push_back(it);
    }
  }
  std::stable_sort(order.begin(), order.end(), [length](const auto& a, const auto& b) {
    const auto distance = [length](const auto& task) {
      return std::abs(static_cast<std::ptrdiff_t>(task->speech_tokens.size()) - length);
    };
    return distance(a) < distance(b);
  });
  order.resize(std::min(order.size(), batch_));
  for (const auto& it : order) {
    batch.push_back(std::move(*it));
    waiting_.erase(it);
  }
  taken_ = true;
  return batch;
}

void SynthesisQueue::done() {
  {
    const std::lock_guard lock(mutex_);
    taken_ = false;
  }
  changed_.notify_all();
}

} // namespace audiobookd::engine
