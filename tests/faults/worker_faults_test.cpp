// Workers that die, are stopped, are told to stop, or are killed by what they render.
#include "jobs/redis_script.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/tcp_proxy.h"

#include <csignal>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

using FaultWorker = FaultFixture;
using FaultPoison = FaultFixture;

// Fault 1.
TEST_F(FaultWorker, AKillInTheMiddleOfABookLosesOnlyWhatWasInFlight) {
  place_.behave_until(8);
  auto first = place_.start({.name = "first", .chunks = "shared"});
  enqueue("book", 1, 40);
  ASSERT_TRUE(is_midway(1, 8));
  const auto second = place_.start({.name = "second", .chunks = "shared"});
  EXPECT_EQ(first->end(SIGKILL), -SIGKILL);
  const std::size_t kept = place_.stored_chunks("shared").size();
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 40));
  EXPECT_EQ(rendered(1, second->pid()), 40 - kept);
  EXPECT_EQ(field("book", "attempts"), "0") << "nobody knows whether the job was to blame";
  EXPECT_EQ(second->end(SIGTERM), 0);
}

TEST_F(FaultWorker, KilledAtAnyStageALevelledBookIsTheSameToTheByte) {
  constexpr int paragraphs = 20;
  place_.behave(1);
  {
    const auto worker = place_.start({.name = "whole", .loudness = true});
    enqueue("whole", 1, paragraphs);
    ASSERT_TRUE(is_published("whole", 1, paragraphs));
    EXPECT_EQ(worker->end(SIGTERM), 0);
  }
  const std::string whole = read_file(place_.output("whole"));
  const std::size_t all = place_.rendered(); // with the sentences that the voice is measured by
  EXPECT_GT(all, std::size_t{paragraphs});
  for (const std::size_t kill_at : {std::size_t{0}, std::size_t{1}, all / 2, all - 1, all}) {
    const std::string id = "killed-" + std::to_string(kill_at);
    const std::size_t before = place_.rendered();
    place_.behave_until(before + kill_at);
    auto first = place_.start({.name = id, .loudness = true});
    enqueue(id, 1, paragraphs);
    ASSERT_TRUE(comes([&] { return has_logged(id, ": attempt 1") && place_.rendered() >= before + kill_at; }));
    first->end(SIGKILL);
    place_.behave(1);
    const auto second = place_.start({.name = id, .loudness = true});
    EXPECT_TRUE(is_published(id, 1, paragraphs));
    EXPECT_TRUE(read_file(place_.output(id)) == whole) << "killed when " << kill_at << " utterances were there";
    EXPECT_EQ(second->end(SIGTERM), 0);
  }
}

// Fault 2.
TEST_F(FaultWorker, AKillRightAfterTheClaimCostsTheJobNothing) {
  TcpProxy proxy(server.socket());
  proxy.hold_reply(hands_out_a_job());
  auto first = place_.start({.name = "first", .url = proxy.url()});
  enqueue("book", 1, 3);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  EXPECT_EQ(state("book"), "running") << "leased, and the worker does not know yet";
  first->end(SIGKILL);
  const auto second = place_.start({.name = "second"});
  EXPECT_TRUE(is_published("book", 1, 3));
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 3.
TEST_F(FaultWorker, AKillBetweenRenameAndCompleteIsFoundPublishedAndNotRenderedAgain) {
  TcpProxy proxy(server.socket());
  proxy.hold_request(is_call_of(jobs::scripts::complete));
  auto first = place_.start({.name = "first", .url = proxy.url()});
  enqueue("book", 1, 5);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  EXPECT_EQ(published_.count("book.mp3"), 1);
  first->end(SIGKILL);
  proxy.cut();
  const auto second = place_.start({.name = "second"});
  EXPECT_TRUE(is_published("book", 1, 5));
  EXPECT_EQ(result("book", "published_by_earlier_attempt"), "true");
  EXPECT_EQ(rendered(1, second->pid()), 0U);
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 4.
TEST_F(FaultWorker, AWorkerThatSleptLongerThanItsLeaseNeitherPublishesNorAcknowledges) {
  place_.behave_until(3);
  place_.behave(1, "", "quick");
  const auto sleeper = place_.start({.name = "sleeper"});
  enqueue("book", 1, 40, R"(,"if_exists":"replace")");
  ASSERT_TRUE(is_midway(1, 3));
  sleeper->signal(SIGSTOP);
  const auto heir = place_.start({.name = "heir", .engine = "quick"});
  ASSERT_TRUE(is_published("book", 1, 40));
  const std::string finished = field("book", "finished_at");
  sleeper->signal(SIGCONT);
  EXPECT_TRUE(comes([&] { return has_logged("sleeper", "job book: abandoned, nothing was published"); }));
  EXPECT_TRUE(is_published("book", 1, 40)) << "once";
  EXPECT_EQ(field("book", "finished_at"), finished);
  EXPECT_EQ(sleeper->end(SIGTERM), 0);
  EXPECT_EQ(heir->end(SIGTERM), 0);
}

// Fault 4, at the worst moment: allowed to publish, and then asleep.
TEST_F(FaultWorker, APermissionToPublishThatCameLateIsAskedForAgain) {
  TcpProxy proxy(server.socket());
  proxy.hold_reply(passes_the_point_of_no_return());
  const auto late = place_.start({.name = "late", .url = proxy.url()});
  enqueue("book", 1, 5, R"(,"if_exists":"replace")");
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  late->signal(SIGSTOP);
  const auto heir = place_.start({.name = "heir"});
  ASSERT_TRUE(is_published("book", 1, 5));
  proxy.let_go();
  late->signal(SIGCONT);
  EXPECT_TRUE(comes([&] { return has_logged("late", "job book: "); }));
  EXPECT_TRUE(comes([&] {
    return has_logged("late", "the lease is gone, nothing was published by this run") ||
           has_logged("late", "job book: abandoned, nothing was published");
  }));
  EXPECT_EQ(published_.count("book.mp3"), 1);
  EXPECT_EQ(heir->end(SIGTERM), 0);
}

// Fault 5.
TEST_F(FaultWorker, ATermSignalKeepsWhatFitsIntoTheDrainTimeAndCountsNoAttempt) {
  place_.behave_until(5);
  auto first = place_.start({.name = "first", .chunks = "shared", .drain_seconds = 30});
  enqueue("book", 1, 60);
  ASSERT_TRUE(is_midway(1, 5));
  first->signal(SIGTERM);
  ASSERT_TRUE(comes([&] { return has_logged("first", "stopping: 1 jobs open"); }));
  place_.behave(5);
  EXPECT_EQ(first->wait(), 0);
  EXPECT_EQ(state("book"), "queued");
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(field("book", "suspect"), "");
  const std::size_t kept = place_.stored_chunks("shared").size();
  EXPECT_EQ(kept, rendered(1)) << "all that was made is kept";
  EXPECT_GT(kept, 5U) << "and what was in flight too";
  EXPECT_LT(kept, 60U);
  const auto second = place_.start({.name = "second", .chunks = "shared"});
  EXPECT_TRUE(is_published("book", 1, 60));
  EXPECT_EQ(result("book", "reused"), std::to_string(kept));
  EXPECT_EQ(rendered(1, second->pid()), 60 - kept);
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 6.
TEST_F(FaultWorker, ATermSignalDuringAClaimGivesTheJobBack) {
  TcpProxy proxy(server.socket());
  proxy.hold_reply(hands_out_a_job());
  auto first = place_.start({.name = "first", .url = proxy.url(), .period_scale = 1}); // waits long for a reply
  place_.behave_until(0);
  enqueue("book", 1, 3);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  first->signal(SIGTERM);
  ASSERT_TRUE(comes([&] { return !first->is_pending(SIGTERM); })) << "its signal thread has it";
  proxy.let_go();
  EXPECT_EQ(first->wait(), 0);
  EXPECT_EQ(state("book"), "queued") << place_.all_logs();
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(field("book", "suspect"), "");
  place_.behave(5);
  const auto second = place_.start({.name = "second"});
  EXPECT_TRUE(is_published("book", 1, 3));
  EXPECT_EQ(second->end(SIGTERM), 0);
}

/// Keeps one worker running, as a service manager does, until @p is_over.
::testing::AssertionResult supervise(const Workplace& place, const Worker& worker,
                                     const std::function<bool()>& is_over) {
  auto process = place.start(worker);
  const bool over = comes_true([&] {
    if (!process->is_running()) {
      process->wait();
      process = place.start(worker);
    }
    return is_over();
  });
  return over ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << place.all_logs();
}

// Fault 19.
TEST_F(FaultPoison, AJobThatKillsItsWorkersIsBuriedAfterItsAttempts) {
  enqueue_text("poison", "This will detonate.\n\n", R"(,"max_attempts":2)");
  EXPECT_TRUE(supervise(place_, {}, [&] { return state("poison") == "dead"; }));
  EXPECT_EQ(field("poison", "attempts"), "2");
  EXPECT_NE(field("poison", "error").find("while it ran alone; attempts: 2 of 2"), std::string::npos)
      << field("poison", "error");
  EXPECT_EQ(length("dead"), 1);
  EXPECT_TRUE(published_.counts().empty());
}

// Fault 32.
TEST_F(FaultPoison, AmongTwentyJobsOnOneWorkerOnlyThePoisonDies) {
  place_.behave(5);
  for (int i = 1; i < 20; ++i) {
    enqueue("book" + std::to_string(i), i, 8, R"(,"max_attempts":1)");
  }
  enqueue_text("poison", book_text(20, 8) + "This will detonate.\n\n", R"(,"max_attempts":1)");
  EXPECT_TRUE(supervise(place_, {.max_jobs = 20}, [&] {
    return state("poison") == "dead" && length("q:high") + length("q:normal") + length("q:low") == 0;
  }));
  EXPECT_EQ(length("dead"), 1);
  for (int i = 1; i < 20; ++i) {
    EXPECT_TRUE(is_published("book" + std::to_string(i), i, 8));
  }
  EXPECT_EQ(published_.count("poison.mp3"), 0);
}

} // namespace
} // namespace audiobookd::tests
