// The service with a queue in memory and a fake engine.
#include "daemon/render_service.h"
#include "storage/local_storage.h"
#include "tests/daemon/fakes.h"

#include <algorithm>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <optional>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

namespace audiobookd::daemon {
namespace {

using namespace std::chrono_literals;

/// A place where writing the output "stuck.mp3" hangs until it is let go.
class HangingStorage final : public testing::LocalFolder {
public:
  using LocalFolder::LocalFolder;
  [[nodiscard]] std::unique_ptr<storage::Publication> open_output(std::string_view name, std::string_view owner,
                                                                  const std::stop_token& stop) const override {
    auto publication = LocalFolder::open_output(name, owner, stop);
    return name == "stuck.mp3" ? std::make_unique<Stuck>(std::move(publication), *this) : std::move(publication);
  }

  void let_go() {
    const std::lock_guard lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }
  void wait_until_stuck() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_stuck_; });
  }

private:
  class Stuck final : public storage::Publication {
  public:
    Stuck(std::unique_ptr<storage::Publication> target, const HangingStorage& storage)
        : target_(std::move(target)), storage_(storage) {}
    void append(std::span<const std::byte> bytes) override {
      storage_.hang();
      target_->append(bytes);
    }
    void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
      target_->overwrite(offset, bytes);
    }
    void clear() override { target_->clear(); }
    [[nodiscard]] std::uint64_t size() const noexcept override { return target_->size(); }
    storage::PublishResult commit(storage::IfExists if_exists, const std::function<bool()>& still_mine) override {
      return target_->commit(if_exists, still_mine);
    }
    [[nodiscard]] const std::string& target() const noexcept override { return target_->target(); }

  private:
    const std::unique_ptr<storage::Publication> target_;
    const HangingStorage& storage_;
  };

  void hang() const {
    std::unique_lock lock(mutex_);
    is_stuck_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return let_go_; });
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable bool is_stuck_ = false; // protected by mutex_, as is the next
  bool let_go_ = false;
};

class RenderServiceTest : public ::testing::Test {
protected:
  void start(const ServiceLimits& limits = {}) {
    service_ = std::make_unique<RenderService>(
        ServiceParts{.queue = queue_,
                     .connect_queue = [this]() -> std::vector<std::string> {
                       ++connections_;
                       queue_.intake(); // throws while the queue is unavailable
                       return {};
                     },
                     .renderer = renderer_,
                     .store = store_,
                     .storage = storage_,
                     .clips = clips_,
                     .manager = manager_,
                     .encoders = encoders_,
                     .give_up = [this] { give_up(); }},
        ServiceSettings{.defaults = {}, .periods = {.heartbeat = heartbeat_, .hang = hang_}, .limits = limits});
    ended_ = std::async(std::launch::async, [this] { service_->run(stop_.get_token()); });
  }

  /// Stops the service and gives what run() threw.
  void stop() {
    stop_.request_stop();
    ended_.get();
  }

  /// In place of the end of the process.
  void give_up() {
    stuck_at_the_end_ = queue_.record("stuck");
    storage_.let_go();
  }

  void add(const std::string& id, int paragraphs = 12, const std::string& queue = "normal") {
    folder_.write("files/" + id + ".txt", testing::sample_text(paragraphs));
    jobs::Job job;
    job.id = id;
    job.input = id + ".txt";
    job.output = id + ".mp3";
    queue_.add(job, queue);
  }

  [[nodiscard]] bool is_published(const std::string& id) const {
    return std::filesystem::exists(files_ / (id + ".mp3"));
  }

  testing::TemporaryFolder folder_;
  const std::filesystem::path files_ = folder_.path() / "files";
  testing::FakeRenderer renderer_;
  testing::FakeQueue queue_;
  testing::FakeServiceManager manager_;
  HangingStorage storage_{(std::filesystem::create_directories(files_), files_)};
  std::chrono::milliseconds heartbeat_{5};
  std::chrono::milliseconds hang_ = 1h; ///< nothing hangs but where a test says so
  std::optional<testing::FakeQueue::Record> stuck_at_the_end_;
  const std::filesystem::path decoder_ = folder_.path() / "decoder";
  ClipVoices clips_{folder_.path() / "clips", {.clip_decoder = decoder_, .checkpoint = {}}};
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 30}};
  storage::WorkerPool encoders_{2};
  std::atomic<int> connections_{0};
  std::stop_source stop_;
  std::unique_ptr<RenderService> service_;
  std::future<void> ended_;
};

TEST_F(RenderServiceTest, JobsAreCompletedSideBySideAndAfterEachOther) {
  add("a");
  add("b", 30);
  start({.max_jobs = 2});
  add("c");
  for (const char* id : {"a", "b", "c"}) {
    queue_.wait_for_state(id, "done");
    EXPECT_TRUE(is_published(id)) << id;
  }
  stop();
  EXPECT_TRUE(queue_.has_retired());
  EXPECT_GT(manager_.watchdog_calls, 0);
  manager_.wait_for_stopping();
}

TEST_F(RenderServiceTest, AClipThatTakesLongStallsNeitherHeartbeatsNorOtherJobs) {
  const std::filesystem::path pipe = folder_.path() / "pipe"; // whose other end the decoder waits for
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  folder_.write("decoder", "#!/bin/sh\nread word < '" + pipe.string() + "'; echo \"$word\" >&2; exit 1\n");
  std::filesystem::permissions(decoder_, std::filesystem::perms::owner_all);
  folder_.write("files/clip.wav", "samples");
  jobs::Job cloned;
  cloned.id = "cloned";
  cloned.text = "Said by the clip's speaker.";
  cloned.output = "cloned.mp3";
  cloned.voice_clip = "clip.wav";
  queue_.add(cloned);
  start({.max_jobs = 2});
  queue_.wait_for("cloned", [](const auto& record) { return record.heartbeats > 3; });
  add("book");
  queue_.wait_for_state("book", "done");
  const int before = queue_.record("cloned").heartbeats;
  queue_.wait_for("cloned", [before](const auto& record) { return record.heartbeats > before + 3; });
  EXPECT_EQ(queue_.record("cloned").state, "running");
  std::ofstream(pipe) << "hoarse\n";
  EXPECT_NE(queue_.wait_for_state("cloned", "dead").error.find("hoarse"), std::string::npos);
  stop();
}

TEST_F(RenderServiceTest, MemoryThatRanOutIsLoggedOnceAndSaysWhatToSet) {
  const auto sink = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(1000);
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
  renderer_.out_of_memory = 1;
  for (const char* id : {"a", "b"}) {
    add(id);
  }
  start({.max_jobs = 1});
  for (const char* id : {"a", "b"}) {
    queue_.wait_for_state(id, "done");
    renderer_.out_of_memory = 2;
  }
  stop();
  spdlog::set_default_logger(before);
  const auto lines = sink->last_formatted();
  EXPECT_EQ(std::ranges::count_if(
                lines, [](const std::string& line) { return line.find("gpu_memory_fraction") != std::string::npos; }),
            1);
}

TEST_F(RenderServiceTest, NoMoreJobsAreOpenThanAllowedUntilTheLimitIsRaised) {
  renderer_.hold();
  add("a");
  add("b");
  start({.max_jobs = 1, .short_jobs = 0});
  queue_.wait_for("a", [](const auto& record) { return record.heartbeats > 3; });
  EXPECT_EQ(queue_.record("b").state, "queued");
  service_->set_limits({.max_jobs = 2, .short_jobs = 0});
  queue_.wait_for_state("b", "running");
  renderer_.let_go();
  queue_.wait_for_state("a", "done");
  queue_.wait_for_state("b", "done");
  stop();
}

constexpr int long_book = 200; ///< paragraphs: about a quarter of an hour

TEST_F(RenderServiceTest, JobsOfAHigherQueueFindPlacesAsIfThoseOfLowerOnesWereNotOpen) {
  renderer_.hold();
  add("low-1", long_book, "low");
  add("low-2", long_book, "low");
  start({.max_jobs = 1, .short_jobs = 0});
  queue_.wait_for_state("low-1", "running");
  add("normal-1", long_book);
  add("normal-2", long_book);
  queue_.wait_for_state("normal-1", "running");
  add("high-1", long_book, "high");
  add("high-2", long_book, "high");
  queue_.wait_for_state("high-1", "running");
  const int before = queue_.record("high-1").heartbeats;
  queue_.wait_for("high-1", [before](const auto& record) { return record.heartbeats > before + 3; });
  for (const char* id : {"low-2", "normal-2", "high-2"}) {
    EXPECT_EQ(queue_.record(id).state, "queued") << id;
  }
  stop_.request_stop();
  manager_.wait_for_stopping();
  renderer_.let_go();
  ended_.get();
}

TEST_F(RenderServiceTest, AShortJobBehindMoreNovelsThanPlacesIsDoneFirstAndTheNovelsWaitWithoutAnAttempt) {
  for (const char* id : {"a-novel", "b-novel", "c-novel", "d-novel"}) {
    add(id, long_book);
  }
  add("e-story");
  renderer_.hold();
  start({.max_jobs = 2, .short_jobs = 1});
  queue_.wait_for_state("e-story", "running");
  for (const char* id : {"c-novel", "d-novel"}) {
    EXPECT_TRUE(queue_.record(id).is_long) << id;
    EXPECT_EQ(queue_.record(id).attempts, 0) << id;
  }
  renderer_.let_go();
  EXPECT_EQ(queue_.wait_for_state("e-story", "done").completed_as, 1);
  for (const char* id : {"a-novel", "b-novel", "c-novel", "d-novel"}) {
    EXPECT_EQ(queue_.wait_for_state(id, "done").attempts, 1) << id;
  }
  stop();
}

TEST_F(RenderServiceTest, WhatIsShortCanBeChangedWhileItRuns) {
  renderer_.hold();
  add("a-novel", long_book);
  add("b-novel", long_book);
  start({.max_jobs = 1, .short_jobs = 1});
  queue_.wait_for("b-novel", [](const auto& record) { return record.is_long && record.state == "queued"; });
  service_->set_limits({.max_jobs = 1, .short_jobs = 1, .short_length = 60min});
  add("c-novel", long_book);
  queue_.wait_for("c-novel", [](const auto& record) { return record.heartbeats > 3; });
  EXPECT_FALSE(queue_.record("c-novel").is_long);
  renderer_.let_go();
  queue_.wait_for_state("b-novel", "done");
  stop();
}

TEST_F(RenderServiceTest, ATargetThatHangsHoldsUpNoneOfThirtyJobsButItsOwn) {
  add("stuck", long_book);
  for (int i = 0; i < 29; ++i) {
    add("job-" + std::to_string(i), 3 + i);
  }
  start({.max_jobs = 3, .short_jobs = 2});
  storage_.wait_until_stuck();
  for (int i = 0; i < 29; ++i) {
    queue_.wait_for_state("job-" + std::to_string(i), "done");
  }
  const int before = queue_.record("stuck").heartbeats;
  queue_.wait_for("stuck", [before](const auto& record) { return record.heartbeats > before + 3; });
  EXPECT_EQ(queue_.record("stuck").state, "running");
  storage_.let_go();
  queue_.wait_for_state("stuck", "done");
  stop();
  EXPECT_FALSE(stuck_at_the_end_) << "it did not hang at the end";
}

TEST_F(RenderServiceTest, AStopReleasesAJobWhoseTargetHangsAndGivesUpItsThread) {
  hang_ = 50ms;
  add("stuck");
  add("other", 40);
  renderer_.hold();
  start({.drain = 0ms});
  storage_.wait_until_stuck();
  renderer_.wait_held(4);
  stop();
  ASSERT_TRUE(stuck_at_the_end_);
  EXPECT_EQ(stuck_at_the_end_->state, "queued");
  EXPECT_EQ(stuck_at_the_end_->attempts, 0);
  EXPECT_EQ(queue_.record("other").state, "queued");
  EXPECT_TRUE(queue_.has_retired());
  EXPECT_FALSE(is_published("stuck")) << "its thread found the lease gone";
}

TEST_F(RenderServiceTest, AJobThatEndsMakesRoomForTheNextAtOnce) {
  constexpr int count = 24;
  const auto id = [](int i) { return "job" + std::to_string(i); };
  for (int i = 0; i < count; ++i) {
    add(id(i), 1);
  }
  heartbeat_ = 1h; // which wakes the service as well
  const auto begin = std::chrono::steady_clock::now();
  start({.max_jobs = 1, .short_jobs = 0});
  for (int i = 0; i < count; ++i) {
    queue_.wait_for_state(id(i), "done");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, count * 500ms) << "as long as looking now and then would take";
  stop();
}

TEST_F(RenderServiceTest, AFailedJobDoesNotDisturbTheNext) {
  jobs::Job lost;
  lost.id = "a";
  lost.input = "lost.txt";
  lost.output = "a.mp3";
  queue_.add(lost);
  add("b");
  start();
  queue_.wait_for_state("a", "dead");
  queue_.wait_for_state("b", "done");
  stop();
}

TEST_F(RenderServiceTest, AStopFinishesWhatIsInFlightAndReleasesTheRestWithoutAnAttempt) {
  renderer_.hold();
  add("a", 40);
  start();
  renderer_.wait_held(4);
  stop_.request_stop();
  manager_.wait_for_stopping();
  renderer_.let_go();
  ended_.get();
  const auto record = queue_.record("a");
  EXPECT_EQ(record.state, "queued");
  EXPECT_EQ(record.releases, 1);
  EXPECT_EQ(record.attempts, 0);
  EXPECT_FALSE(is_published("a"));
  EXPECT_GE(store_.stats().written, 4u) << "what was in flight is kept";
  EXPECT_EQ(store_.open_jobs(), std::vector<std::string>{"a"}) << "it will be taken up again";
}

TEST_F(RenderServiceTest, AStopDoesNotWaitForWorkInFlightLongerThanAllowed) {
  renderer_.hold();
  add("a", 40);
  start({.drain = 0ms});
  renderer_.wait_held(4);
  stop(); // nobody lets the engine go: it ends because its work is withdrawn
  EXPECT_EQ(queue_.record("a").state, "queued");
  EXPECT_EQ(queue_.record("a").attempts, 0);
  EXPECT_GE(renderer_.cancelled().size(), 4u);
}

TEST_F(RenderServiceTest, LeasesAreKeptWhileDraining) {
  renderer_.hold();
  add("a", 40);
  start();
  renderer_.wait_held(4);
  stop_.request_stop();
  manager_.wait_for_stopping();
  const int before = queue_.record("a").heartbeats;
  queue_.wait_for("a", [before](const auto& record) { return record.heartbeats > before + 20; });
  renderer_.let_go();
  ended_.get();
}

TEST_F(RenderServiceTest, ALostLeasePublishesNothingAndFreesTheEngine) {
  renderer_.hold();
  add("a", 40);
  start();
  renderer_.wait_held(4);
  queue_.change("a", [](auto& record) { record.token = "another worker's"; });
  while (renderer_.cancelled().size() < 4) {
    std::this_thread::yield();
  }
  renderer_.let_go();
  add("b");
  queue_.wait_for_state("b", "done");
  stop();
  EXPECT_EQ(queue_.record("a").token, "another worker's");
  EXPECT_FALSE(is_published("a"));
}

TEST_F(RenderServiceTest, ACancelledJobPublishesNothing) {
  renderer_.hold();
  add("a", 40);
  start();
  renderer_.wait_held(4);
  queue_.change("a", [](auto& record) { record.cancel_requested = true; });
  queue_.wait_for_state("a", "cancelled");
  renderer_.let_go();
  add("b");
  queue_.wait_for_state("b", "done");
  stop();
  EXPECT_EQ(queue_.record("a").state, "cancelled");
  EXPECT_FALSE(is_published("a"));
}

TEST_F(RenderServiceTest, ItWaitsForAQueueThatIsDownAndSaysSo) {
  queue_.set_unavailable(true);
  add("a");
  start();
  manager_.wait_for_status("waiting for Redis");
  queue_.set_unavailable(false);
  queue_.wait_for_state("a", "done");
  stop();
}

TEST_F(RenderServiceTest, RenderingGoesOnWhileTheQueueIsDown) {
  renderer_.hold();
  add("a", 40);
  start();
  renderer_.wait_held(4);
  queue_.set_unavailable(true);
  queue_.wait_refused();
  renderer_.let_go();
  while (renderer_.delivered_texts().size() < 44) {
    std::this_thread::yield();
  }
  queue_.set_unavailable(false);
  queue_.wait_for_state("a", "done");
  EXPECT_EQ(queue_.record("a").attempts, 1);
  add("b");
  queue_.wait_for_state("b", "done");
  EXPECT_GE(connections_, 2);
  stop();
}

TEST_F(RenderServiceTest, AFailedDeviceEndsTheServicePublishesNothingAndGivesTheJobsBack) {
  renderer_.deliveries_before_device_fault = 5;
  add("a", 40);
  add("b", 40);
  start();
  EXPECT_THROW(ended_.get(), std::runtime_error);
  for (const char* id : {"a", "b"}) {
    EXPECT_EQ(queue_.record(id).state, "queued") << id;
    EXPECT_EQ(queue_.record(id).attempts, 0) << id;
    EXPECT_FALSE(is_published(id)) << id;
  }
  EXPECT_TRUE(queue_.has_retired());
}

TEST_F(RenderServiceTest, AFailedDeviceIsHeldAgainstTheJobsThatItWorkedOnAlone) {
  renderer_.deliveries_before_device_fault = 0;
  renderer_.hold();
  add("a", 40);
  start();
  renderer_.wait_held(4); // as many as the engine takes
  add("b", 40);
  queue_.wait_for("b", [](const auto& record) { return record.heartbeats > 0; });
  renderer_.let_go();
  EXPECT_THROW(ended_.get(), std::runtime_error);
  EXPECT_TRUE(queue_.record("a").blamed);
  EXPECT_EQ(queue_.record("a").error, "the device failed: the device is gone");
  EXPECT_FALSE(queue_.record("b").blamed);
  EXPECT_EQ(queue_.record("b").releases, 1);
  EXPECT_EQ(store_.open_jobs(), (std::vector<std::string>{"a", "b"})) << "both will be taken up again";
}

TEST_F(RenderServiceTest, AnOrderToDrainFinishesTheOpenJobsTakesNoMoreAndEndsTheService) {
  renderer_.hold();
  add("a", 40);
  start({.max_jobs = 8});
  renderer_.wait_held(4);
  queue_.order_drain();
  manager_.wait_for_status("draining; jobs open: 1");
  add("b");
  queue_.wait_for(
      "a", [before = queue_.record("a").heartbeats](const auto& record) { return record.heartbeats > before + 3; });
  EXPECT_EQ(queue_.record("b").state, "queued");
  renderer_.let_go();
  ended_.get(); // by itself, without an error
  EXPECT_EQ(queue_.record("a").state, "done");
  EXPECT_TRUE(is_published("a"));
  EXPECT_EQ(queue_.record("b").state, "queued");
  EXPECT_TRUE(queue_.has_retired());
}

TEST_F(RenderServiceTest, AnIdleServiceThatIsToldToDrainEnds) {
  queue_.order_drain();
  start();
  ended_.get();
  EXPECT_TRUE(queue_.has_retired());
}

TEST_F(RenderServiceTest, ChunksOfJobsThatEndedElsewhereAreGivenUpAtTheStart) {
  const std::vector<std::string> keys = {std::string(32, 'a')};
  for (const char* id : {"over", "unknown", "open"}) {
    store_.claim(id, 1, keys);
  }
  for (const std::string id : {"over", "open"}) {
    add(id);
    queue_.change(id, [&](auto& record) { record.state = id == "over" ? "done" : "retry_wait"; });
  }
  start();
  while (store_.open_jobs().size() > 1) {
    std::this_thread::yield();
  }
  EXPECT_EQ(store_.open_jobs(), std::vector<std::string>{"open"});
  stop();
}

TEST(ProgressWatch, AStandstillIsOnlyAlarmingWithWorkInFlightAndAfterPatience) {
  ProgressWatch watch;
  const auto start = ProgressWatch::Clock::now();
  EXPECT_TRUE(watch.is_alive(0, 1, start));
  EXPECT_TRUE(watch.is_alive(0, 1, start + 1h)) << "idle";
  EXPECT_TRUE(watch.is_alive(3, 2, start + 1h));
  EXPECT_TRUE(watch.is_alive(3, 2, start + 1h + 60s));
  EXPECT_FALSE(watch.is_alive(3, 2, start + 1h + 61s));
  EXPECT_TRUE(watch.is_alive(3, 3, start + 1h + 61s)) << "it was only slow";
  EXPECT_TRUE(watch.is_alive(3, 3, start + 1h + 600s)) << "and may be slow again";
  EXPECT_FALSE(watch.is_alive(3, 3, start + 1h + 61s + 611s));
}

TEST(ProgressWatch, ThatWorkWasInFlightAtTheFirstLookMakesItNoMorePatient) {
  ProgressWatch watch(10s);
  const auto start = ProgressWatch::Clock::now();
  EXPECT_TRUE(watch.is_alive(3, 7, start));
  EXPECT_TRUE(watch.is_alive(3, 7, start + 10s));
  EXPECT_FALSE(watch.is_alive(3, 7, start + 11s));
}

} // namespace
} // namespace audiobookd::daemon
