// `audiobookctl follow` through whole lives of jobs.
#include "daemon/ctl/follow.h"
#include "daemon/ctl/follow_views.h"
#include "tests/daemon/ctl/ctl_fixture.h"

#include <csignal>
#include <gtest/gtest.h>
#include <pty.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::daemon {
namespace {

using nlohmann::json;
using testing::Ran;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class RedisFollow : public testing::CtlFixture {
protected:
  std::unique_ptr<jobs::RedisQueue> worker = make_worker("w-1");

  /// Takes the job in and claims it.
  jobs::ClaimedJob claim() {
    worker->intake();
    return worker->claim().value();
  }
  void finish(const jobs::Lease& lease) {
    worker->begin_commit(lease, "");
    worker->complete(lease, R"({"audio_seconds":3723,"wall_seconds":62})");
  }
};

TEST_F(RedisFollow, AJobIsSeenFromItsEntryToItsEnd) {
  add_job("normal", "tale");
  const auto follow = start({"follow", "tale"});
  EXPECT_TRUE(follow->prints("tale: waiting to be taken in\n")) << follow->wait().err;
  worker->intake();
  EXPECT_TRUE(follow->prints("tale: queued\n"));
  const jobs::ClaimedJob job = claim();
  EXPECT_TRUE(follow->prints("tale: 0 %, running on w-1\n"));
  worker->heartbeat(job.lease, {.fraction = 0.57, .eta_s = 10});
  EXPECT_TRUE(follow->prints("tale: 50 %, running on w-1\n"));
  finish(job.lease);
  const Ran ran = follow->wait();
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_TRUE(contains(ran.out, "tale: done: 1:02:03 of audio in 1:02\n")) << ran.out;
  EXPECT_TRUE(contains(ran.err, "no worker is alive")) << "none had announced itself";
}

TEST_F(RedisFollow, TheWorstEndIsTheStatus) {
  for (const char* id : {"good", "bad", "unwanted"}) {
    add_job("normal", id);
  }
  finish(claim().lease);
  worker->fail(claim().lease, "the input is missing", jobs::FailureKind::permanent);
  command("cancel", "id", "unwanted");
  worker->poll_control();
  EXPECT_EQ(ctl({"follow", "good"}).status, 0);
  EXPECT_EQ(ctl({"follow", "unwanted"}).status, 6);
  EXPECT_EQ(ctl({"follow", "good", "unwanted"}).status, 6);
  const Ran worst = ctl({"follow", "good", "bad", "unwanted"});
  EXPECT_EQ(worst.status, 5);
  EXPECT_TRUE(contains(worst.out, "bad: dead: the input is missing\n")) << worst.out;
  EXPECT_EQ(ctl({"follow", "good", "nobody"}).status, 3);
}

TEST_F(RedisFollow, AsJsonEveryChangeIsALineAndTheLastHasTheRecord) {
  add_job("normal", "tale");
  const auto follow = start({"follow", "tale", "--json"});
  EXPECT_TRUE(follow->prints(R"("waiting")"));
  const jobs::ClaimedJob job = claim();
  EXPECT_TRUE(follow->prints(R"("running")"));
  worker->heartbeat(job.lease, {.fraction = 0.25, .eta_s = 10});
  EXPECT_TRUE(follow->prints(R"("progress":0.25)"));
  worker->fail(job.lease, "broken", jobs::FailureKind::permanent);
  const Ran ran = follow->wait();
  EXPECT_EQ(ran.status, 5);
  std::istringstream lines(ran.out);
  json last;
  for (std::string line; std::getline(lines, line);) {
    last = json::parse(line);
    EXPECT_EQ(last.at("id"), "tale");
  }
  EXPECT_EQ(last.at("end"), "dead");
  EXPECT_EQ(last.at("record").at("error"), "broken");
}

TEST_F(RedisFollow, ALostMessageIsMadeUpFor) {
  admin.command({"HSET", "tts:job:tale", "state", "running", "owner", "w-9", "progress", "0"});
  const auto follow = start({"follow", "tale"});
  EXPECT_TRUE(follow->prints("running on w-9"));
  admin.command({"HSET", "tts:job:tale", "state", "done"}); // nobody publishes anything
  EXPECT_EQ(follow->wait().status, 0);
}

TEST_F(RedisFollow, WhileRedisIsAwayItWaits) {
  server.kill();
  jobs::RedisServer kept({"--appendonly", "yes", "--appendfsync", "always"});
  jobs::RedisConnection writer(jobs::parse_redis_url(kept.url()), {}, "test");
  writer.command({"HSET", "tts:job:tale", "state", "running", "owner", "w-9", "progress", "0"});
  testing::CtlProcess follow({"follow", "tale", "--redis", kept.url()});
  EXPECT_TRUE(follow.prints("running on w-9"));
  kept.kill();
  kept.start();
  writer.disconnect();
  writer.command({"HSET", "tts:job:tale", "state", "cancelled"});
  const Ran ran = follow.wait();
  EXPECT_EQ(ran.status, 6) << ran.err;
}

TEST_F(RedisFollow, APurgedJobEndsIt) {
  admin.command({"HSET", "tts:job:tale", "state", "running", "owner", "w-9"});
  const auto follow = start({"follow", "tale"});
  EXPECT_TRUE(follow->prints("running on w-9"));
  admin.command({"DEL", "tts:job:tale"});
  EXPECT_EQ(follow->wait().status, 3);
}

TEST_F(RedisFollow, ItGivesUpWhenTold) {
  add_job("normal", "tale");
  EXPECT_EQ(ctl({"follow", "tale", "--timeout", "0.2"}).status, 7);
}

TEST_F(RedisFollow, EnqueueFollowsTheJobThatTheEntryBecame) {
  // Two entries of the same id: the second job gets the name of its queue behind it.
  admin.command({"XADD", "tts:q:high", "5-1", "job", R"({"text":"a","output":"a.mp3"})"});
  admin.command({"XADD", "tts:q:normal", "5-1", "job", R"({"text":"b","output":"b.mp3"})"});
  worker->intake();
  finish(worker->claim()->lease);
  worker->fail(worker->claim()->lease, "broken", jobs::FailureKind::permanent);
  jobs::QueueClient client({.url = server.url()});
  std::ostringstream out, notes;
  LineView view(out, notes);
  EXPECT_EQ(follow(client, {{.id = "5-1", .queue = "high", .entry = "5-1"}}, view, {}), ExitStatus::done);
  EXPECT_EQ(follow(client, {{.id = "5-1", .queue = "normal", .entry = "5-1"}}, view, {}), ExitStatus::job_dead);
  EXPECT_TRUE(contains(out.str(), "5-1.normal: dead: broken")) << out.str();
}

TEST_F(RedisFollow, EnqueueWithFollowEndsWithTheJob) {
  const auto follow = start({"enqueue", "--id", "tale", "--text", "Hello.", "-o", "a.mp3", "--follow"});
  ASSERT_TRUE(follow->prints("tale\n"));
  finish(claim().lease);
  EXPECT_EQ(follow->wait().status, 0);
}

TEST_F(RedisFollow, ADuplicateIsToldFromTheFirst) {
  add_job("normal", "first", R"(,"idempotency_key":"k")");
  worker->intake();
  const auto follow = start({"enqueue", "--text", "Hello.", "-o", "a.mp3", "--idempotency-key", "k", "--follow"});
  ASSERT_TRUE(follow->prints("waiting to be taken in"));
  worker->intake();
  const Ran ran = follow->wait();
  EXPECT_EQ(ran.status, 1);
  EXPECT_TRUE(contains(ran.out, "dropped: a duplicate of job first")) << ran.out;
}

TEST_F(RedisFollow, OnATerminalALineIsDrawnOverAndNeverWiderThanIt) {
  admin.command({"HSET", "tts:job:tale", "state", "running", "owner", std::string(100, 'w'), "progress", "0.5"});
  int terminal = -1;
  winsize size{.ws_row = 24, .ws_col = 70, .ws_xpixel = 0, .ws_ypixel = 0};
  const pid_t pid = forkpty(&terminal, nullptr, nullptr, &size);
  if (pid == 0) {
    execl(AUDIOBOOKCTL_PROGRAM, AUDIOBOOKCTL_PROGRAM, "follow", "tale", "--redis", server.url().c_str(), nullptr);
    _exit(127);
  }
  std::string screen;
  const auto read_until = [&](const std::string& part) {
    char buffer[4096];
    ssize_t length = 0;
    while (!contains(screen, part) && (length = read(terminal, buffer, sizeof buffer)) > 0) {
      screen.append(buffer, static_cast<std::size_t>(length));
    }
    return contains(screen, part);
  };
  EXPECT_TRUE(read_until("tale  [###############...............]  50 %  running on ww")) << screen;
  admin.command({"HSET", "tts:job:tale", "state", "done", "progress", "1"});
  admin.command({"PUBLISH", "tts:events:tale", R"({"id":"tale","event":"done"})"});
  EXPECT_TRUE(read_until("\x1b[1A\rtale  [##############################] 100 %  done\x1b[K")) << screen;
  int status = -1;
  close(terminal);
  waitpid(pid, &status, 0);
  std::istringstream lines(screen);
  for (std::string line; std::getline(lines, line);) {
    const auto begin = line.find("tale");
    const auto end = line.find("\x1b[K");
    if (begin != std::string::npos && end != std::string::npos) {
      EXPECT_LE(end - begin, 70U + 2U) << line; // the ellipsis has three bytes
    }
  }
}

TEST(FollowViews, TheBoardGoesBackOverItsLines) {
  std::ostringstream out;
  BoardView board(out, 60);
  std::vector<FollowedJob> jobs{{.id = "a"}, {.id = "longer"}};
  board.show(jobs);
  EXPECT_EQ(out.str().find("\x1b[2A"), std::string::npos);
  board.show(jobs);
  EXPECT_NE(out.str().find("\x1b[2A\ra       ["), std::string::npos) << out.str();
  out.str("");
  board.say("waiting for Redis: \x1b[2J");
  board.show(jobs);
  EXPECT_TRUE(contains(out.str(), "waiting for Redis: \\x1b[2J\n\ra ")) << out.str();
}

} // namespace
} // namespace audiobookd::daemon
