// Redis that goes away, comes back, forgets, refuses, or answers into the void.
#include "jobs/redis_script.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/notify_socket.h"
#include "tests/faults/tcp_proxy.h"

#include <csignal>
#include <fstream>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

using FaultRedis = FaultFixture;
using FaultFailover = FaultFixture;

using Clock = std::chrono::steady_clock;

// Fault 7.
TEST_F(FaultRedis, ARestartWithAppendOnlyFileIsHardlyNoticed) {
  place_.behave_until(5);
  const auto worker = place_.start({});
  enqueue("book", 1, 40);
  ASSERT_TRUE(is_midway(1, 5));
  server.kill();
  start_redis();
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 40));
  EXPECT_EQ(rendered(1), 40U) << "nothing twice";
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 8.
TEST_F(FaultRedis, RenderingGoesOnWithoutRedisAndTheBookIsCompletedAfterwards) {
  place_.behave_until(3);
  const auto worker = place_.start({.name = "owner"});
  const auto other = place_.start({.name = "other", .max_jobs = 1}); // would take the job over if it could
  ASSERT_TRUE(comes([&] { return has_logged("other", "connected"); }));
  enqueue("book", 1, 30);
  ASSERT_TRUE(is_midway(1, 3));
  const std::string owner = field("book", "owner");
  server.kill();
  const auto down_since = Clock::now();
  place_.behave(5);
  EXPECT_TRUE(is_midway(1, 30));
  EXPECT_TRUE(comes([&] { return Clock::now() > down_since + 2 * lease; }));
  EXPECT_EQ(published_.count("book.mp3"), 0) << "without permission";
  start_redis();
  EXPECT_TRUE(is_published("book", 1, 30));
  EXPECT_EQ(field("book", "owner"), owner) << "leases age while Redis is down, but nobody steals them";
  EXPECT_EQ(rendered(1), 30U);
  EXPECT_EQ(field("book", "attempts"), "0");
}

// Fault 9.
TEST_F(FaultRedis, AtTheStartItIsWaitedForAndTheServiceManagerIsTold) {
  server.kill();
  const NotifySocket manager(place_.path("notify"));
  const auto worker = place_.start({.environment = {{"NOTIFY_SOCKET", place_.path("notify")}}});
  EXPECT_TRUE(comes([&] { return manager.has("STATUS=waiting for Redis: "); }));
  EXPECT_TRUE(comes([&] { return manager.has("WATCHDOG=1"); })) << "waiting is no standstill";
  start_redis();
  enqueue("book", 1, 3);
  EXPECT_TRUE(is_published("book", 1, 3));
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

TEST_F(FaultRedis, AWorkerThatNeverFoundItCanBeStopped) {
  server.kill();
  const auto worker = place_.start({});
  ASSERT_TRUE(comes([&] { return has_logged("worker", "waiting for Redis"); }));
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 10.
TEST_F(FaultRedis, AConnectionThatNobodyAnswersOnIsGivenUpAndTheJobKept) {
  TcpProxy proxy(server.socket());
  place_.behave_until(5);
  const auto worker = place_.start({.url = proxy.url()});
  enqueue("book", 1, 40);
  ASSERT_TRUE(is_midway(1, 5));
  proxy.black_hole();
  EXPECT_TRUE(comes([&] { return has_logged("worker", "no reply in time"); }));
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 40));
  EXPECT_EQ(rendered(1), 40U);
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

TEST_F(FaultRedis, ConnectionsThatAreResetAgainAndAgainLoseNothing) {
  TcpProxy proxy(server.socket());
  place_.behave_until(0);
  const auto worker = place_.start({.url = proxy.url()});
  enqueue("book", 1, 60);
  for (std::size_t utterances = 5; utterances < 60; utterances += 5) {
    place_.behave_until(utterances);
    ASSERT_TRUE(is_midway(1, utterances));
    proxy.cut();
  }
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 60));
  EXPECT_EQ(rendered(1), 60U);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 13.
TEST_F(FaultRedis, AReplicaInItsPlaceIsWaitedFor) {
  place_.behave_until(5);
  const auto worker = place_.start({});
  enqueue("book", 1, 30);
  ASSERT_TRUE(is_midway(1, 5));
  admin.command({"REPLICAOF", "127.0.0.1", "1"});
  ASSERT_TRUE(comes([&] { return has_logged("worker", "waiting for Redis: "); }));
  place_.behave(5);
  EXPECT_TRUE(is_midway(1, 30)) << "rendering goes on";
  EXPECT_EQ(published_.count("book.mp3"), 0);
  admin.command({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(is_published("book", 1, 30));
  EXPECT_EQ(rendered(1), 30U);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 14.
TEST_F(FaultRedis, GroupAndStreamThatWereDeletedAreMadeAgain) {
  place_.behave_until(6);
  const auto worker = place_.start({});
  enqueue("group", 1, 30);
  enqueue("stream", 2, 30);
  ASSERT_TRUE(reaches("group", "running"));
  ASSERT_TRUE(reaches("stream", "running"));
  const auto has_group = [&] {
    return admin.command({"EXISTS", "tts:q:normal"}).integer == 1 &&
           !admin.command({"XINFO", "GROUPS", "tts:q:normal"}).list.empty();
  };
  admin.command({"XGROUP", "DESTROY", "tts:q:normal", "render"});
  ASSERT_TRUE(comes(has_group));
  admin.command({"DEL", "tts:q:normal"});
  ASSERT_TRUE(comes(has_group));
  place_.behave(5);
  EXPECT_TRUE(is_published("group", 1, 30));
  EXPECT_TRUE(is_published("stream", 2, 30));
  enqueue("later", 3, 3);
  EXPECT_TRUE(is_published("later", 3, 3));
  EXPECT_EQ(rendered(1) + rendered(2), 60U);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 15.
TEST_F(FaultRedis, AFlushedDatabaseIsNoticedAndNothingIsPublishedTwice) {
  place_.behave_until(5);
  const auto worker = place_.start({});
  enqueue("book", 1, 30);
  ASSERT_TRUE(is_midway(1, 5));
  admin.command({"FLUSHALL"});
  EXPECT_TRUE(comes([&] { return has_logged("worker", "job book: abandoned, nothing was published"); }));
  EXPECT_EQ(published_.count("book.mp3"), 0);
  place_.behave(5);
  enqueue("book", 1, 30);
  EXPECT_TRUE(is_published("book", 1, 30));
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 16.
TEST_F(FaultRedis, OutOfMemoryRefusesNewJobsAndFinishesTheOpenOnes) {
  place_.behave_until(3);
  const auto worker = place_.start({});
  enqueue("book", 1, 30);
  enqueue("second", 2, 5);
  ASSERT_TRUE(reaches("book", "running"));
  ASSERT_TRUE(reaches("second", "running"));
  admin.command({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_THROW(enqueue("refused", 3, 5), jobs::QueueUnavailable);
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 30));
  EXPECT_TRUE(is_published("second", 2, 5));
  admin.command({"CONFIG", "SET", "maxmemory", "0"});
  enqueue("refused", 3, 5);
  EXPECT_TRUE(is_published("refused", 3, 5));
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 17.
TEST_F(FaultRedis, FlushedScriptsAreSentAgain) {
  place_.behave_until(0);
  const auto worker = place_.start({});
  enqueue("book", 1, 40);
  for (std::size_t utterances = 5; utterances < 40; utterances += 5) {
    place_.behave_until(utterances);
    ASSERT_TRUE(is_midway(1, utterances));
    admin.command({"SCRIPT", "FLUSH"});
  }
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 40));
  EXPECT_EQ(rendered(1), 40U);
  EXPECT_FALSE(has_logged("worker", "waiting for Redis")) << "not even a reconnection";
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 18.
TEST_F(FaultRedis, ACompletionWhoseReplyWasLostIsRepeatedAndChangesNothing) {
  TcpProxy proxy(server.socket());
  proxy.lose_reply(is_call_of(jobs::scripts::complete));
  const auto worker = place_.start({.url = proxy.url()});
  enqueue("book", 1, 5);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  EXPECT_TRUE(is_published("book", 1, 5));
  const std::string finished = field("book", "finished_at");
  EXPECT_TRUE(comes([&] { return has_logged("worker", "job book: done "); }));
  EXPECT_EQ(field("book", "finished_at"), finished);
  enqueue("next", 2, 5);
  EXPECT_TRUE(is_published("next", 2, 5));
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

// Fault 11.
TEST_F(FaultFailover, ACompletionThatTheReplicaNeverSawIsMadeUpForWithoutRendering) {
  jobs::RedisServer replica;
  jobs::RedisConnection other(jobs::parse_redis_url(replica.url()), {}, "replica");
  admin.command({"CONFIG", "SET", "repl-diskless-sync-delay", "0"});
  TcpProxy link(server.socket()); // what the replica follows
  const std::string port = link.url().substr(link.url().rfind(':') + 1);
  other.command({"REPLICAOF", "127.0.0.1", port});
  ASSERT_TRUE(comes([&] {
    return other.command({"INFO", "replication"}).text.find("master_link_status:up") != std::string::npos;
  }));
  TcpProxy proxy(server.socket());
  proxy.hold_request(is_call_of(jobs::scripts::complete));
  const auto worker = place_.start({.url = proxy.url()});
  enqueue("book", 1, 5);
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  ASSERT_TRUE(comes([&] { return other.command({"HGET", "tts:job:book", "state"}).text == "committing"; }));
  other.command({"REPLICAOF", "NO", "ONE"});
  proxy.let_go(); // completed, on a master that nobody will hear of again
  ASSERT_TRUE(reaches("book", "done"));
  ASSERT_TRUE(comes([&] { return has_logged("worker", "job book: done "); }));
  proxy.redirect(replica.socket());
  server.kill();
  proxy.cut();
  EXPECT_TRUE(comes([&] { return other.command({"HGET", "tts:job:book", "state"}).text == "done"; }));
  EXPECT_NE(other.command({"HGET", "tts:job:book", "result"}).text.find("published_by_earlier_attempt"),
            std::string::npos);
  EXPECT_EQ(published_.count("book.mp3"), 1);
  EXPECT_EQ(rendered(1), 5U);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

/// How far the clock of a server is moved.
class MovedClock {
public:
  MovedClock() { move(0); }
  void move(std::int64_t seconds) {
    std::fstream stream(file_, std::ios::binary | std::ios::in | std::ios::out);
    if (!stream) {
      stream.open(file_, std::ios::binary | std::ios::out);
    }
    stream.write(reinterpret_cast<const char*>(&seconds), sizeof seconds);
  }
  /// For the server: see programs/clock_shim.cpp.
  [[nodiscard]] std::map<std::string, std::string> environment() const {
    return {{"LD_PRELOAD", AUDIOBOOKD_CLOCK_SHIM}, {"AUDIOBOOKD_CLOCK_OFFSET", file_}};
  }

private:
  ScratchFolder folder_;
  const fs::path file_ = folder_ / "offset";
};

class FaultClock : private MovedClock, public FaultFixture {
protected:
  FaultClock() : FaultFixture({"--appendonly", "yes"}, environment()) {}
  void set_clock(std::int64_t offset_s) { move(offset_s); }
  std::int64_t server_seconds() { return std::stoll(admin.command({"TIME"}).at(0).text); }
};

// Fault 27.
TEST_F(FaultClock, AJumpForwardEndsLeasesAndTheBookIsPublishedOnceAllTheSame) {
  place_.behave_until(5);
  const auto first = place_.start({.name = "first", .chunks = "shared"});
  const auto second = place_.start({.name = "second", .chunks = "shared"});
  ASSERT_TRUE(comes([&] { return has_logged("first", "connected") && has_logged("second", "connected"); }));
  const auto connected = Clock::now();
  ASSERT_TRUE(comes([&] { return Clock::now() > connected + 2 * lease; })) << "only then does anybody reclaim";
  enqueue("book", 1, 60, R"(,"if_exists":"replace")");
  ASSERT_TRUE(is_midway(1, 5));
  const std::int64_t before = server_seconds();
  set_clock(3600);
  ASSERT_TRUE(comes([&] { return server_seconds() >= before + 3600; })) << "the clock was not moved";
  EXPECT_TRUE(comes([&] { return field("book", "suspect") == "1"; }));
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 60));
  EXPECT_EQ(field("book", "attempts"), "0");
}

TEST_F(FaultClock, AJumpBackStopsNothing) {
  place_.behave_until(5);
  const auto worker = place_.start({});
  enqueue("book", 1, 40);
  ASSERT_TRUE(is_midway(1, 5));
  const std::int64_t before = server_seconds();
  set_clock(-3600);
  ASSERT_TRUE(comes([&] { return server_seconds() <= before - 3500; })) << "the clock was not moved";
  place_.behave(5);
  EXPECT_TRUE(is_published("book", 1, 40));
  enqueue("later", 2, 5);
  EXPECT_TRUE(is_published("later", 2, 5));
  EXPECT_EQ(rendered(1), 40U);
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

} // namespace
} // namespace audiobookd::tests
