// An engine that hangs, runs out of memory, breaks for good, or is not there at all.
#include "tests/faults/fault_fixture.h"
#include "tests/faults/notify_socket.h"

#include <csignal>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

using FaultEngine = FaultFixture;

// Fault 20.
TEST_F(FaultEngine, OneThatHangsIsNotReportedAliveAndItsJobRunsElsewhere) {
  const NotifySocket manager(place_.path("notify"));
  auto hung =
      place_.start({.name = "hung", .engine = "sick", .environment = {{"NOTIFY_SOCKET", place_.path("notify")}}});
  place_.behave_until(3, "sick");
  enqueue("book", 1, 40);
  ASSERT_TRUE(comes([&] { return place_.rendered("", 0, "sick") == 3; }));
  EXPECT_TRUE(comes([&] { return manager.has("WATCHDOG=1"); }));
  place_.behave(20, "hang", "sick");
  // It goes on to say how it is, every heartbeat, but no longer that it lives.
  EXPECT_TRUE(comes([&] { return manager.count_since("STATUS=", "WATCHDOG=1") >= 8; }));
  EXPECT_EQ(state("book"), "running");
  EXPECT_EQ(hung->end(SIGABRT), -SIGABRT) << "what systemd does when the watchdog is not fed";
  const auto healthy = place_.start({.name = "healthy"});
  EXPECT_TRUE(is_published("book", 1, 40));
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(healthy->end(SIGTERM), 0);
}

TEST_F(FaultEngine, OneThatHangsDoesNotKeepTheDaemonFromKeepingItsLeases) {
  place_.behave(20, "hang");
  const auto worker = place_.start({.max_jobs = 1});
  enqueue("book", 1, 3);
  ASSERT_TRUE(reaches("book", "running"));
  const std::string since = field("book", "heartbeat_at");
  EXPECT_TRUE(comes([&] { return std::stoll(field("book", "heartbeat_at")) > std::stoll(since) + 3 * lease.count(); }));
  EXPECT_EQ(state("book"), "running");
}

// Fault 21.
TEST_F(FaultEngine, OutOfMemoryMeansLessAtATimeAndTheSameAudio) {
  const auto plenty = place_.start({.name = "plenty"});
  enqueue("before", 1, 20);
  ASSERT_TRUE(is_published("before", 1, 20));
  EXPECT_EQ(plenty->end(SIGTERM), 0);
  place_.behave(20, "out_of_memory");
  const auto short_of = place_.start({.name = "short"}); // a chunk store of its own: all is rendered again
  enqueue("after", 1, 20);
  EXPECT_TRUE(is_published("after", 1, 20));
  EXPECT_TRUE(read_file(place_.output("before")) == read_file(place_.output("after")));
  EXPECT_EQ(rendered(1), 40U);
  EXPECT_TRUE(has_logged("short", "the GPU's memory ran out, and rendering went on with less at a time"));
  EXPECT_EQ(short_of->end(SIGTERM), 0);
}

// Fault 22.
TEST_F(FaultEngine, AGpuThatIsMissingEndsTheProgramBeforeItTakesAJob) {
  enqueue("book", 1, 3);
  const auto worker = place_.start_real({.engine_section = "device = 'cuda:63'"});
  EXPECT_EQ(worker->wait(), 1);
  EXPECT_TRUE(has_logged("worker", "cuda:63")) << place_.all_logs();
  EXPECT_EQ(state("book"), "") << "no daemon looked at it";
  EXPECT_EQ(length("q:normal"), 1);
  EXPECT_TRUE(published_.counts().empty());
}

// Fault 33.
TEST_F(FaultEngine, ADeviceThatFailedEndsTheProgramPublishesNothingAndTheJobsResume) {
  place_.behave_until(6, "sick");
  const auto sick = place_.start({.name = "sick-worker", .chunks = "shared", .engine = "sick"});
  enqueue("one", 1, 40);
  enqueue("two", 2, 40);
  ASSERT_TRUE(reaches("one", "running"));
  ASSERT_TRUE(reaches("two", "running"));
  ASSERT_TRUE(comes([&] { return place_.rendered("", 0, "sick") == 6; }));
  place_.behave(20, "device", "sick");
  EXPECT_EQ(sick->wait(), 1);
  EXPECT_TRUE(has_logged("sick-worker", "an illegal memory access was encountered"));
  EXPECT_TRUE(published_.counts().empty());
  for (const char* id : {"one", "two"}) {
    EXPECT_EQ(state(id), "queued");
    EXPECT_EQ(field(id, "attempts"), "0");
  }
  const std::size_t kept = place_.stored_chunks("shared").size();
  EXPECT_EQ(kept, place_.rendered("", 0, "sick")) << "what was made before is kept";
  const auto healthy = place_.start({.name = "healthy", .chunks = "shared"});
  EXPECT_TRUE(is_published("one", 1, 40));
  EXPECT_TRUE(is_published("two", 2, 40));
  EXPECT_EQ(rendered(1) + rendered(2), 80 - kept);
  EXPECT_EQ(healthy->end(SIGTERM), 0);
}

} // namespace
} // namespace audiobookd::tests
