#include "engine/synthesis_queue.h"

#include <algorithm>

namespace audiobookd::engine {

void SynthesisQueue::push(SynthesisTask task) {
  {
    const std::lock_guard lock(mutex_);
    const auto behind = std::find_if(waiting_.begin(), waiting_.end(),
                                     [&](const SynthesisTask& other) { return other.order > task.order; });
    waiting_.insert(behind, std::move(task));
    update();
  }
  changed_.notify_all();
}

void SynthesisQueue::set_decode_state(const DecodeState& state) {
  {
    const std::lock_guard lock(mutex_);
    decode_ = state;
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
  const bool was_here = waiting_.remove_if([id](const SynthesisTask& task) { return task.id == id; }) > 0;
  update();
  return was_here;
}

void SynthesisQueue::set_speed(std::int64_t frames, double seconds) {
  const std::lock_guard lock(mutex_);
  frames_per_second_ = static_cast<double>(frames) / seconds;
}

bool SynthesisQueue::decode_may_run() const {
  const std::lock_guard lock(mutex_);
  return !paused_ || decode_.urgent;
}

bool SynthesisQueue::idle() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() && taken_ == 0;
}

bool SynthesisQueue::computing() const {
  const std::lock_guard lock(mutex_);
  return taken_ > 0;
}

void SynthesisQueue::update() {
  if (waiting_.size() >= limits_.most_waiting) {
    paused_ = true;
  } else if (waiting_.size() <= limits_.least_waiting) {
    paused_ = false;
  }
}

std::int64_t SynthesisQueue::most_frames() const {
  if (!decode_.urgent) {
    return limits_.frames;
  }
  const auto in_time = static_cast<std::int64_t>(limits_.urgent_seconds * frames_per_second_);
  return std::min(limits_.frames, in_time);
}

bool SynthesisQueue::full() const {
  std::int64_t frames = 0;
  for (const SynthesisTask& task : waiting_) {
    frames += task.num_frames;
  }
  return waiting_.size() >= limits_.tasks || frames >= most_frames();
}

bool SynthesisQueue::urgent_waits() const {
  return std::any_of(waiting_.begin(), waiting_.end(), [](const SynthesisTask& task) { return task.urgent; });
}

bool SynthesisQueue::ready() const {
  if (closed_ || waiting_.empty()) {
    return closed_;
  }
  const bool more_will_come = !paused_ && !decode_.thin;
  return urgent_waits() || full() || !more_will_come;
}

std::vector<SynthesisTask> SynthesisQueue::choose() {
  const bool urgent = urgent_waits();
  const std::int64_t most = most_frames();
  std::int64_t frames = 0;
  std::vector<SynthesisTask> batch;
  for (auto it = waiting_.begin(); it != waiting_.end() && batch.size() < limits_.tasks;) {
    const bool fits = batch.empty() || (frames + it->num_frames <= most && it->cfm_steps == batch[0].cfm_steps);
    if (it->urgent != urgent || !fits) {
      ++it;
      continue;
    }
    frames += it->num_frames;
    batch.push_back(std::move(*it));
    it = waiting_.erase(it);
  }
  taken_ += batch.size();
  update();
  return batch;
}

std::vector<SynthesisTask> SynthesisQueue::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready(); });
  return choose();
}

std::vector<SynthesisTask> SynthesisQueue::take_now() {
  const std::lock_guard lock(mutex_);
  return ready() ? choose() : std::vector<SynthesisTask>{};
}

void SynthesisQueue::done(std::size_t tasks) {
  {
    const std::lock_guard lock(mutex_);
    taken_ -= tasks;
  }
  changed_.notify_all();
}

} // namespace audiobookd::engine
