// Stand-ins for the tests of the daemon: an engine that makes a tone per utterance, a queue in memory, a folder that
// goes away.
#pragma once

#include "daemon/renderer.h"
#include "daemon/systemd.h"
#include "jobs/queue.h"
#include "storage/local_storage.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace audiobookd::daemon::testing {

/// A new folder, removed with everything in it at the end.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Writes a file and returns its path.
  std::filesystem::path write(const std::string& name, const std::string& content) const;

private:
  std::filesystem::path path_;
};

[[nodiscard]] std::string read_file(const std::filesystem::path& file);

/// Delivers a waveform for every utterance that it takes, which depends on text, seed and attempt alone.
class FakeRenderer final : public Renderer {
public:
  FakeRenderer();

  void run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) override;
  void notify() noexcept override;
  void cancel(engine::UtteranceId id) noexcept override;
  [[nodiscard]] const engine::EngineInfo& info() const noexcept override { return info_; }
  [[nodiscard]] engine::EngineStats stats() const override;
  [[nodiscard]] int predict_tokens(std::string_view text) const override;
  /// "added-" and the voice's first prompt token.
  std::string add_voice(const engine::VoiceConditionals& voice) override;
  [[nodiscard]] engine::Hash128 utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                              int occurrence) const override;
  [[nodiscard]] std::string chunk_key(const engine::Utterance& utterance) const override;
  [[nodiscard]] std::vector<std::string> added_voices() const; ///< what add_voice() answered so far

  [[nodiscard]] static engine::Waveform waveform_of(const engine::Utterance& utterance);

  engine::EngineInfo& mutable_info() { return info_; }

  /// What run() does with the utterances of one round before it delivers them: sort, drop, …
  std::function<void(std::vector<engine::Utterance>&)> arrange;
  /// Utterances whose waveform is replaced; nothing returned: delivered as usual.
  std::function<std::optional<engine::Waveform>(const engine::Utterance&)> replace;
  /// A reason to fail this utterance; empty: none.
  std::function<std::string(const engine::Utterance&)> fault;
  /// What EngineStats says of it.
  std::atomic<std::uint64_t> out_of_memory = 0;
  /// After so many deliveries run() throws, as if the device had failed.
  std::size_t deliveries_before_device_fault = SIZE_MAX;

  /// From now on run() keeps what it takes until let_go() is called.
  void hold();
  void let_go();
  /// Blocks until run() keeps at least @p count utterances.
  void wait_held(std::size_t count);
  [[nodiscard]] std::size_t notifications() const; ///< calls of notify() so far
  /// Blocks until notify() was called at least @p count times.
  void wait_notified(std::size_t count);

  [[nodiscard]] std::vector<engine::UtteranceId> cancelled() const;
  [[nodiscard]] std::vector<std::string> delivered_texts() const;

private:
  void deliver(const engine::Utterance& utterance, engine::Sink& sink);

  engine::EngineInfo info_;
  mutable std::mutex mutex_;
  std::vector<std::string> added_voices_;
  std::condition_variable_any changed_;
  bool notified_ = false;
  std::size_t notifications_ = 0;
  bool holding_ = false;
  std::vector<engine::Utterance> held_;
  std::vector<engine::UtteranceId> cancelled_;
  std::vector<std::string> delivered_;
};

/// Jobs in memory. Leases do not expire by themselves.
class FakeQueue final : public jobs::Queue {
public:
  struct Record {
    jobs::Job job;
    std::string queue;
    std::string payload = {};
    std::string state = "queued";
    std::string result;
    std::string error;
    std::string commit;
    std::string token;
    int attempts = 0;
    int releases = 0;
    int heartbeats = 0;
    bool cancel_requested = false;
    bool is_long = false; ///< and known to be
    int completed_as = 0; ///< the first, the second, …
    bool blamed = false;  ///< its device failed under it
  };

  void add(jobs::Job job, const std::string& queue = "normal", const std::string& payload = "");
  /// Blocks until @p condition holds for the record of @p id; returns it.
  Record wait_for(const std::string& id, const std::function<bool(const Record&)>& condition);
  Record wait_for_state(const std::string& id, const std::string& state);
  [[nodiscard]] Record record(const std::string& id) const;
  /// What a user or another worker does to a job.
  void change(const std::string& id, const std::function<void(Record&)>& change);
  /// From now on every call throws QueueUnavailable, or does no longer.
  void set_unavailable(bool unavailable);
  /// Blocks until a call was refused because of set_unavailable().
  void wait_refused();
  [[nodiscard]] bool has_retired() const;
  /// From now on announce() says that the worker is to drain.
  void order_drain();
  /// A user purges a job: its record goes, and purged() tells of it once.
  void purge(const std::string& id);

  std::vector<jobs::IntakeReport> intake() override;
  using Queue::claim;
  std::optional<jobs::ClaimedJob> claim(std::string_view lowest) override;
  std::optional<jobs::ClaimedJob> claim_short(std::string_view lowest) override;
  jobs::LeaseState heartbeat(const jobs::Lease& lease, const jobs::Progress& progress) override;
  jobs::LeaseState begin_commit(const jobs::Lease& lease, std::string_view fingerprint) override;
  jobs::LeaseState complete(const jobs::Lease& lease, std::string_view result_json) override;
  jobs::FailureOutcome fail(const jobs::Lease& lease, std::string_view error, jobs::FailureKind kind) override;
  jobs::LeaseState release(const jobs::Lease& lease) override;
  jobs::LeaseState release_as_long(const jobs::Lease& lease) override;
  std::vector<jobs::ReclaimReport> reclaim() override;
  std::size_t promote() override;
  std::vector<jobs::ControlReport> poll_control() override;
  jobs::WorkerOrder announce(std::string_view info_json) override;
  void retire() override;
  std::vector<std::string> states(std::span<const std::string> ids) override;
  std::vector<std::string> purged() override;
  bool wait_for_work(std::chrono::milliseconds timeout) override;
  jobs::QueueCounts counts() override;

private:
  std::optional<jobs::ClaimedJob> claim(std::string_view lowest, bool only_short);
  void check_available();
  jobs::LeaseState move(const jobs::Lease& lease, const std::string& state, const std::function<void(Record&)>& change);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Record> records_;
  std::size_t new_entries_ = 0;
  std::size_t refused_ = 0;
  int completed_ = 0;
  std::vector<std::string> purged_;
  jobs::WorkerOrder order_ = jobs::WorkerOrder::work;
  bool unavailable_ = false;
  bool retired_ = false;
};

/// A folder for inputs and outputs; what is to go wrong there is overridden.
class LocalFolder : public storage::Storage {
public:
  explicit LocalFolder(const std::filesystem::path& folder) : local_({.input = folder, .output = folder}) {}
  [[nodiscard]] std::string read_input(std::string_view name, std::uint64_t max_bytes,
                                       const std::stop_token& stop) const override {
    return local_.read_input(name, max_bytes, stop);
  }
  [[nodiscard]] bool output_exists(std::string_view name, const std::stop_token& stop) const override {
    return local_.output_exists(name, stop);
  }
  void read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                   const std::stop_token& stop) const override {
    local_.read_output(name, visit, stop);
  }
  [[nodiscard]] std::unique_ptr<storage::Publication> open_output(std::string_view name, std::string_view owner,
                                                                  const std::stop_token& stop) const override {
    return local_.open_output(name, owner, stop);
  }
  [[nodiscard]] std::unique_ptr<storage::FolderPublication> open_folder(std::string_view name, std::string_view owner,
                                                                        const std::stop_token& stop) const override {
    return local_.open_folder(name, owner, stop);
  }

private:
  storage::LocalStorage local_;
};

/// Counts what a service manager is told.
class FakeServiceManager final : public ServiceManager {
public:
  void ready() override {}
  void stopping() override;
  void status(const std::string& text) override;
  void feed_watchdog() override { ++watchdog_calls; }
  void extend_timeout(std::chrono::seconds) override {}
  /// Blocks until a status that begins with @p text was given.
  void wait_for_status(const std::string& text);
  /// Blocks until the service said that it is stopping.
  void wait_for_stopping();

  std::atomic<int> watchdog_calls{0};

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> statuses_; // protected by mutex_
  bool stopping_ = false;             // protected by mutex_
};

/// Text of @p paragraphs paragraphs of a sentence each, all different, in chapters of ten.
[[nodiscard]] std::string sample_text(int paragraphs);

} // namespace audiobookd::daemon::testing
