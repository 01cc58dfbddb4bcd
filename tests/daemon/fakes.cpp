// The stand-ins of fakes.h.
#include "tests/daemon/fakes.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace audiobookd::daemon::testing {
namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "audiobookd-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("mkdtemp failed");
  }
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() { fs::remove_all(path_); }

fs::path TemporaryFolder::write(const std::string& name, const std::string& content) const {
  fs::create_directories((path_ / name).parent_path());
  std::ofstream(path_ / name, std::ios::binary) << content;
  return path_ / name;
}

std::string read_file(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

FakeRenderer::FakeRenderer() {
  info_.model = "fake-english";
  info_.device = "cpu";
  info_.dtype = "fp32";
  info_.max_batch = 4;
  info_.voices = {"default", "narrator"};
}

void FakeRenderer::run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) {
  while (true) {
    std::unique_lock lock(mutex_);
    const std::size_t capacity = static_cast<std::size_t>(info_.max_batch) - held_.size();
    lock.unlock();
    std::vector<engine::Utterance> round = source.next(capacity);
    lock.lock();
    held_.insert(held_.end(), round.begin(), round.end());
    changed_.notify_all();
    if (holding_ || held_.empty()) {
      if (stop.stop_requested() && held_.empty()) {
        return;
      }
      changed_.wait(lock, [&] { return notified_ || (!holding_ && !held_.empty()); });
      notified_ = false;
      continue;
    }
    round = std::exchange(held_, {});
    lock.unlock();
    if (arrange) {
      arrange(round);
    }
    for (const engine::Utterance& utterance : round) {
      deliver(utterance, sink);
    }
  }
}

void FakeRenderer::deliver(const engine::Utterance& utterance, engine::Sink& sink) {
  {
    const std::lock_guard lock(mutex_);
    if (std::ranges::count(cancelled_, utterance.id) > 0) {
      return;
    }
    if (delivered_.size() >= deliveries_before_device_fault) {
      throw std::runtime_error("the device is gone");
    }
    delivered_.push_back(utterance.text);
  }
  if (const std::string why = fault ? fault(utterance) : ""; !why.empty()) {
    sink.failed(utterance.id, why);
    return;
  }
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(predict_tokens(utterance.text)), utterance.attempt);
  if (utterance.speech_tokens.empty()) {
    sink.tokens(utterance.id, tokens);
  }
  const auto replaced = replace ? replace(utterance) : std::nullopt;
  sink.finished(utterance.id, replaced ? *replaced : waveform_of(utterance));
}

void FakeRenderer::notify() noexcept {
  const std::lock_guard lock(mutex_);
  notified_ = true;
  ++notifications_;
  changed_.notify_all();
}

void FakeRenderer::cancel(engine::UtteranceId id) noexcept {
  const std::lock_guard lock(mutex_);
  cancelled_.push_back(id);
  std::erase_if(held_, [id](const engine::Utterance& utterance) { return utterance.id == id; });
  notified_ = true;
  changed_.notify_all();
}

engine::EngineStats FakeRenderer::stats() const {
  const std::lock_guard lock(mutex_);
  engine::EngineStats stats;
  stats.utterances_finished = delivered_.size();
  stats.out_of_memory = out_of_memory;
  return stats;
}

int FakeRenderer::predict_tokens(std::string_view text) const { return 1 + static_cast<int>(text.size()) * 3 / 2; }

std::string FakeRenderer::add_voice(const engine::VoiceConditionals& voice) {
  const std::lock_guard lock(mutex_);
  return added_voices_.emplace_back("added-" + std::to_string(voice.prompt_tokens.at(0)));
}

std::vector<std::string> FakeRenderer::added_voices() const {
  const std::lock_guard lock(mutex_);
  return added_voices_;
}

engine::Hash128 FakeRenderer::utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                            int occurrence) const {
  const std::vector<std::string> added = added_voices();
  if (std::ranges::find(info_.voices, voice) == info_.voices.end() && std::ranges::find(added, voice) == added.end()) {
    throw std::invalid_argument("voice '" + std::string(voice) + "' does not exist");
  }
  return engine::HashBuilder().add(text).add(language).add(voice).add(std::uint64_t(occurrence)).finish();
}

std::string FakeRenderer::chunk_key(const engine::Utterance& utterance) const {
  return engine::HashBuilder().add(utterance.key).add(utterance.seed).finish().hex();
}

engine::Waveform FakeRenderer::waveform_of(const engine::Utterance& utterance) {
  engine::Waveform waveform;
  waveform.samples.resize(1200 + 24 * utterance.text.size());
  std::uint64_t state = engine::HashBuilder()
                            .add(utterance.key)
                            .add(utterance.seed)
                            .add(static_cast<std::uint64_t>(utterance.attempt))
                            .finish()
                            .low;
  for (float& sample : waveform.samples) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    sample = 0.2f * (static_cast<float>(state >> 40) / 16777216.0f - 0.5f);
  }
  return waveform;
}

void FakeRenderer::hold() {
  const std::lock_guard lock(mutex_);
  holding_ = true;
}

void FakeRenderer::let_go() {
  const std::lock_guard lock(mutex_);
  holding_ = false;
  notified_ = true;
  changed_.notify_all();
}

void FakeRenderer::wait_held(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return held_.size() >= count; });
}

std::size_t FakeRenderer::notifications() const {
  const std::lock_guard lock(mutex_);
  return notifications_;
}

void FakeRenderer::wait_notified(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return notifications_ >= count; });
}

std::vector<engine::UtteranceId> FakeRenderer::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

std::vector<std::string> FakeRenderer::delivered_texts() const {
  const std::lock_guard lock(mutex_);
  return delivered_;
}

void FakeQueue::add(jobs::Job job, const std::string& queue, const std::string& payload) {
  const std::lock_guard lock(mutex_);
  const std::string id = job.id;
  records_[id].job = std::move(job);
  records_[id].queue = queue;
  records_[id].payload = payload;
  ++new_entries_;
  changed_.notify_all();
}

FakeQueue::Record FakeQueue::wait_for(const std::string& id, const std::function<bool(const Record&)>& condition) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return condition(records_.at(id)); });
  return records_.at(id);
}

FakeQueue::Record FakeQueue::wait_for_state(const std::string& id, const std::string& state) {
  return wait_for(id, [&](const Record& record) { return record.state == state; });
}

FakeQueue::Record FakeQueue::record(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return records_.at(id);
}

void FakeQueue::change(const std::string& id, const std::function<void(Record&)>& change) {
  const std::lock_guard lock(mutex_);
  change(records_.at(id));
  changed_.notify_all();
}

void FakeQueue::set_unavailable(bool unavailable) {
  const std::lock_guard lock(mutex_);
  unavailable_ = unavailable;
  refused_ = 0;
  ++new_entries_;
  changed_.notify_all();
}

void FakeQueue::wait_refused() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return refused_ > 0; });
}

bool FakeQueue::has_retired() const {
  const std::lock_guard lock(mutex_);
  return retired_;
}

void FakeQueue::check_available() {
  if (unavailable_) {
    ++refused_;
    changed_.notify_all();
    throw jobs::QueueUnavailable("the queue is down");
  }
}

std::vector<jobs::IntakeReport> FakeQueue::intake() {
  const std::lock_guard lock(mutex_);
  check_available();
  return {};
}

std::optional<jobs::ClaimedJob> FakeQueue::claim(std::string_view lowest) { return claim(lowest, false); }

std::optional<jobs::ClaimedJob> FakeQueue::claim_short(std::string_view lowest) { return claim(lowest, true); }

std::optional<jobs::ClaimedJob> FakeQueue::claim(std::string_view lowest, bool only_short) {
  const std::lock_guard lock(mutex_);
  check_available();
  for (auto& [id, record] : records_) {
    const auto rank = [](std::string_view queue) { return std::ranges::find(jobs::QueueCounts::names, queue); };
    if (record.state == "queued" && record.releases == 0 && rank(record.queue) <= rank(lowest) &&
        !(only_short && record.is_long)) {
      record.state = "running";
      record.token = id + "-" + std::to_string(++record.attempts);
      changed_.notify_all();
      return jobs::ClaimedJob{.job = record.job,
                              .lease = {.id = id, .owner = "me", .token = record.token, .attempt = record.attempts},
                              .payload = record.payload,
                              .queue = record.queue,
                              .previous_commit = record.commit};
    }
  }
  return std::nullopt;
}

jobs::LeaseState FakeQueue::move(const jobs::Lease& lease, const std::string& state,
                                 const std::function<void(Record&)>& change) {
  const std::lock_guard lock(mutex_);
  check_available();
  Record& record = records_.at(lease.id);
  if (record.token != lease.token) {
    return jobs::LeaseState::lost;
  }
  if (record.cancel_requested && record.state == "running") {
    record.state = "cancelled";
    record.token.clear();
    changed_.notify_all();
    return jobs::LeaseState::cancelled;
  }
  if (!state.empty()) {
    record.state = state;
  }
  change(record);
  changed_.notify_all();
  return jobs::LeaseState::held;
}

jobs::LeaseState FakeQueue::heartbeat(const jobs::Lease& lease, const jobs::Progress&) {
  return move(lease, "", [](Record& record) { ++record.heartbeats; });
}

jobs::LeaseState FakeQueue::begin_commit(const jobs::Lease& lease, std::string_view fingerprint) {
  return move(lease, "committing", [&](Record& record) { record.commit = fingerprint; });
}

jobs::LeaseState FakeQueue::complete(const jobs::Lease& lease, std::string_view result_json) {
  return move(lease, "done", [&](Record& record) {
    record.result = result_json;
    record.completed_as = ++completed_;
  });
}

jobs::FailureOutcome FakeQueue::fail(const jobs::Lease& lease, std::string_view error, jobs::FailureKind kind) {
  const bool is_permanent = kind == jobs::FailureKind::permanent;
  const bool is_crash = kind == jobs::FailureKind::crash;
  const std::string next = is_permanent ? "dead" : is_crash ? "queued" : "retry_wait";
  const jobs::LeaseState state = move(lease, next, [&](Record& record) {
    record.error = error;
    record.blamed = is_crash;
    record.attempts -= is_crash ? 1 : 0; // in company
    record.releases += is_crash ? 1 : 0;
    record.token.clear();
  });
  switch (state) {
  case jobs::LeaseState::lost: return jobs::FailureOutcome::lost;
  case jobs::LeaseState::cancelled: return jobs::FailureOutcome::cancelled;
  case jobs::LeaseState::held: break;
  }
  return is_permanent ? jobs::FailureOutcome::dead : jobs::FailureOutcome::retry;
}

jobs::LeaseState FakeQueue::release(const jobs::Lease& lease) {
  return move(lease, "queued", [](Record& record) {
    ++record.releases;
    --record.attempts;
    record.token.clear();
  });
}

jobs::LeaseState FakeQueue::release_as_long(const jobs::Lease& lease) {
  return move(lease, "queued", [](Record& record) {
    record.is_long = true;
    --record.attempts;
    record.token.clear();
  });
}

std::vector<jobs::ReclaimReport> FakeQueue::reclaim() { return {}; }
std::size_t FakeQueue::promote() { return 0; }
std::vector<jobs::ControlReport> FakeQueue::poll_control() { return {}; }

jobs::WorkerOrder FakeQueue::announce(std::string_view) {
  const std::lock_guard lock(mutex_);
  return order_;
}

void FakeQueue::order_drain() {
  const std::lock_guard lock(mutex_);
  order_ = jobs::WorkerOrder::drain;
}

void FakeQueue::purge(const std::string& id) {
  const std::lock_guard lock(mutex_);
  records_.erase(id);
  purged_.push_back(id);
}

std::vector<std::string> FakeQueue::states(std::span<const std::string> ids) {
  const std::lock_guard lock(mutex_);
  check_available();
  std::vector<std::string> states;
  for (const std::string& id : ids) {
    const auto found = records_.find(id);
    states.push_back(found == records_.end() ? "" : found->second.state);
  }
  return states;
}

std::vector<std::string> FakeQueue::purged() {
  const std::lock_guard lock(mutex_);
  check_available();
  return std::exchange(purged_, {});
}

void FakeQueue::retire() {
  const std::lock_guard lock(mutex_);
  retired_ = true;
}

bool FakeQueue::wait_for_work(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  check_available();
  const bool has_work = changed_.wait_for(lock, timeout, [this] { return new_entries_ > 0; });
  new_entries_ = 0;
  return has_work;
}

jobs::QueueCounts FakeQueue::counts() { return {}; }

void FakeServiceManager::status(const std::string& text) {
  const std::lock_guard lock(mutex_);
  statuses_.push_back(text);
  changed_.notify_all();
}

void FakeServiceManager::wait_for_status(const std::string& text) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return std::ranges::any_of(statuses_, [&](const std::string& status) { return status.starts_with(text); });
  });
}

void FakeServiceManager::stopping() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

void FakeServiceManager::wait_for_stopping() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_; });
}

std::string sample_text(int paragraphs) {
  std::string text;
  for (int i = 0; i < paragraphs; ++i) {
    if (i % 10 == 0) {
      text += "CHAPTER " + std::to_string(i / 10 + 1) + "\n\n";
    }
    text += "This is paragraph number " + std::to_string(i) + " of a book that nobody has ever written" +
            std::string(static_cast<std::size_t>(i % 7), '.') + ".\n\n";
  }
  return text;
}

} // namespace audiobookd::daemon::testing
