// What the queue promises when workers vanish, come back as zombies, and when Redis itself fails.
#include "jobs/redis_queue.h"
#include "jobs/redis_script.h"
#include "tests/jobs/redis_fixture.h"

#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sstream>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;

using RedisZombie = RedisQueueFixture;
using RedisSuspect = RedisQueueFixture;
using RedisFailure = RedisQueueFixture;
using RedisPermissions = RedisQueueFixture;

// --- Workers that vanish ------------------------------------------------------------------------------------------

TEST_F(RedisZombie, SilentWorkersJobRunsElsewhereAndNoAttemptIsCounted) {
  const auto silent = make_worker("silent");
  const auto rescuer = make_worker("rescuer");
  add_job("normal", "book");
  const auto lost = silent->claim();
  ASSERT_TRUE(lost);
  const ReclaimReport report = reclaim_one(*rescuer);
  EXPECT_EQ(report.id, "book");
  EXPECT_EQ(report.owner, "silent");
  EXPECT_EQ(report.state, "queued");
  EXPECT_EQ(field("book", "suspect"), "1");
  EXPECT_EQ(field("book", "attempts"), "0");
  const auto claimed = rescuer->claim();
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->job.id, "book");
  EXPECT_EQ(claimed->lease.attempt, 1);
  EXPECT_TRUE(claimed->lease.suspect);
}

TEST_F(RedisZombie, OldTokenCanDoNothing) {
  const auto zombie = make_worker("zombie");
  const auto rescuer = make_worker("rescuer");
  add_job("normal", "book");
  const Lease old = zombie->claim()->lease;
  reclaim_one(*rescuer);
  const auto expect_powerless = [&](const std::string& expected_state) {
    EXPECT_EQ(zombie->heartbeat(old, {}), LeaseState::lost);
    EXPECT_EQ(zombie->begin_commit(old, "x"), LeaseState::lost);
    EXPECT_EQ(zombie->complete(old, "{}"), LeaseState::lost);
    EXPECT_EQ(zombie->fail(old, "x", FailureKind::permanent), FailureOutcome::lost);
    EXPECT_EQ(zombie->release(old), LeaseState::lost);
    EXPECT_EQ(state("book"), expected_state);
  };
  expect_powerless("queued");
  EXPECT_EQ(holder("normal"), "suspect");
  const auto claimed = rescuer->claim();
  ASSERT_TRUE(claimed);
  expect_powerless("running");
  EXPECT_EQ(holder("normal"), "rescuer");
  EXPECT_EQ(rescuer->complete(claimed->lease, "{}"), LeaseState::held);
  expect_powerless("done");
}

TEST_F(RedisZombie, OldClaimOfTheSameWorkerIsAZombieToo) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const Lease old = worker->claim()->lease;
  EXPECT_EQ(worker->release(old), LeaseState::held);
  const auto fresh = worker->claim();
  ASSERT_TRUE(fresh);
  EXPECT_EQ(worker->complete(old, "{}"), LeaseState::lost);
  EXPECT_EQ(worker->heartbeat(fresh->lease, {}), LeaseState::held);
}

TEST_F(RedisZombie, WorkerThatDiedWhilePublishingLeavesItsFingerprint) {
  const auto dying = make_worker("dying");
  const auto heir = make_worker("heir");
  add_job("normal", "book");
  EXPECT_EQ(dying->begin_commit(dying->claim()->lease, "sha:42"), LeaseState::held);
  reclaim_one(*heir);
  EXPECT_EQ(heir->claim()->previous_commit, "sha:42");
}

TEST_F(RedisZombie, JobCancelledWhileItsWorkerWasDeadDoesNotRunAgain) {
  const auto dying = make_worker("dying");
  const auto rescuer = make_worker("rescuer");
  add_job("normal", "book");
  ASSERT_TRUE(dying->claim());
  command("cancel", "id", "book");
  rescuer->poll_control();
  EXPECT_EQ(reclaim_one(*rescuer).state, "cancelled");
  EXPECT_EQ(state("book"), "cancelled");
  EXPECT_FALSE(rescuer->claim());
}

TEST_F(RedisZombie, ReclaimLeavesYoungLeasesAlone) {
  RedisQueueSettings patient = settings("patient");
  patient.heartbeat = milliseconds(100);
  patient.lease = milliseconds(3'600'000);
  const auto worker = make_worker("a");
  add_job("normal", "young");
  const auto claimed = worker->claim();
  const RedisValue reports = run_script(admin, scripts::reclaim, "tts:", {"3600000", "60"});
  EXPECT_TRUE(reports.list.empty());
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  RedisQueue rescuer(patient);
  EXPECT_TRUE(rescuer.reclaim().empty());
  EXPECT_EQ(state("young"), "running");
}

TEST_F(RedisZombie, ReclaimWaitsOneLeaseAfterConnecting) {
  RedisQueueSettings patient = settings("patient");
  patient.lease = milliseconds(3'600'000);
  RedisQueue rescuer(patient);
  const auto silent = make_worker("silent");
  add_job("normal", "book");
  ASSERT_TRUE(silent->claim());
  // As if Redis had been away for two hours: the entry looks abandoned to everybody.
  const std::string entry = field("book", "entry");
  admin.command({"XCLAIM", "tts:q:normal", "render", "silent", "0", entry, "IDLE", "7200000", "JUSTID"});
  EXPECT_TRUE(rescuer.reclaim().empty());
  EXPECT_EQ(state("book"), "running");
  EXPECT_EQ(run_script(admin, scripts::reclaim, "tts:", {"3600000", "60"}).list.size(), 1u);
}

TEST_F(RedisZombie, ForgottenWorkersLeaveNoConsumerBehind) {
  const auto gone = make_worker("gone");
  const auto rescuer = make_worker("rescuer");
  EXPECT_FALSE(gone->claim());
  const auto names = [&] {
    std::string all;
    for (const RedisValue& consumer : admin.command({"XINFO", "CONSUMERS", "tts:q:normal", "render"}).list)
      all += consumer.at(1).text + " ";
    return all;
  };
  EXPECT_TRUE(eventually([&] {
    rescuer->reclaim();
    return names().find("gone") == std::string::npos;
  }));
}

// --- Suspects -----------------------------------------------------------------------------------------------------

TEST_F(RedisSuspect, RunsAloneAndNothingElseIsClaimedBesideIt) {
  const auto dying = make_worker("dying");
  const auto worker = make_worker("worker");
  add_job("normal", "suspicious");
  ASSERT_TRUE(dying->claim());
  reclaim_one(*worker);
  add_job("normal", "harmless");
  add_job("normal", "innocent");

  RedisQueueSettings patient = settings("busy");
  patient.suspect_patience = milliseconds(3'600'000);
  RedisQueue busy(patient);
  add_job("high", "urgent");
  ASSERT_EQ(busy.claim()->job.id, "urgent");
  EXPECT_EQ(busy.claim()->job.id, "harmless") << "a busy worker passes the suspect by";

  const auto alone = worker->claim();
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->job.id, "suspicious");
  EXPECT_TRUE(alone->lease.suspect);
  EXPECT_FALSE(worker->claim()) << "nothing beside a suspect";
  EXPECT_EQ(worker->complete(alone->lease, "{}"), LeaseState::held);
  EXPECT_EQ(worker->claim()->job.id, "innocent");
}

TEST_F(RedisSuspect, BusyWorkerEmptiesItselfForASuspectThatWaitedTooLong) {
  RedisQueueSettings impatient = settings("impatient");
  impatient.suspect_patience = milliseconds(0);
  impatient.lease = milliseconds(3'600'000); // of the reservation
  RedisQueue first(impatient);
  impatient.worker = "second";
  RedisQueue second(impatient);
  const auto dying = make_worker("dying");

  add_job("normal", "suspicious");
  ASSERT_TRUE(dying->claim());
  for (const char* id : {"one", "two", "three", "four"})
    add_job("normal", id);
  const auto job_of_first = first.claim();
  ASSERT_EQ(job_of_first->job.id, "one");
  ASSERT_EQ(second.claim()->job.id, "two");
  // Only the dying worker is silent for longer than the lease.
  const std::string entry = field("suspicious", "entry");
  admin.command({"XCLAIM", "tts:q:normal", "render", "dying", "0", entry, "IDLE", "7200000", "JUSTID"});
  ASSERT_EQ(run_script(admin, scripts::reclaim, "tts:", {"3600000", "60"}).list.size(), 1u);

  EXPECT_FALSE(first.claim()) << "takes nothing more, to become idle";
  EXPECT_EQ(second.claim()->job.id, "three") << "one worker is enough";
  EXPECT_EQ(first.complete(job_of_first->lease, "{}"), LeaseState::held);
  EXPECT_EQ(first.claim()->job.id, "suspicious");
  EXPECT_TRUE(admin.command({"GET", "tts:alone"}).is_nil());
}

TEST_F(RedisSuspect, OnlyCrashesWhileAloneCountAndMaxAttemptsOfThemBuryTheJob) {
  const auto rescuer = make_worker("rescuer");
  add_job("normal", "poison", R"(,"max_attempts":2)");
  ASSERT_TRUE(make_worker("in-company")->claim());
  EXPECT_EQ(reclaim_one(*rescuer).state, "queued");
  EXPECT_EQ(field("poison", "attempts"), "0");
  ASSERT_TRUE(make_worker("alone-1")->claim());
  EXPECT_EQ(reclaim_one(*rescuer).state, "queued");
  EXPECT_EQ(field("poison", "attempts"), "1");
  const auto again = make_worker("alone-2")->claim();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->lease.attempt, 2);
  EXPECT_EQ(reclaim_one(*rescuer).state, "dead");
  EXPECT_EQ(state("poison"), "dead");
  EXPECT_NE(field("poison", "error").find("ran alone"), std::string::npos);
  EXPECT_NE(field("poison", "error").find("alone-2"), std::string::npos);
  EXPECT_EQ(length("dead"), 1);
  EXPECT_FALSE(rescuer->claim());
}

TEST_F(RedisSuspect, PoisonAmongTwentyKillsOnlyItself) {
  const auto rescuer = make_worker("rescuer");
  for (int i = 0; i < 20; ++i)
    add_job("normal", "job" + std::to_string(i), R"(,"max_attempts":1)");
  const auto dying = make_worker("dying");
  while (dying->claim()) {
  }
  std::size_t reclaimed = 0;
  EXPECT_TRUE(eventually([&] { return (reclaimed += rescuer->reclaim().size()) == 20; }));
  // job7 kills whoever runs it.
  int done = 0;
  for (int i = 0; i < 20; ++i) {
    const auto worker = make_worker("worker" + std::to_string(i));
    const auto claimed = worker->claim();
    ASSERT_TRUE(claimed);
    if (claimed->job.id == "job7")
      EXPECT_EQ(reclaim_one(*rescuer).state, "dead");
    else
      done += worker->complete(claimed->lease, "{}") == LeaseState::held ? 1 : 0;
  }
  EXPECT_EQ(done, 19);
  EXPECT_EQ(state("job7"), "dead");
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisSuspect, ReleasedSuspectStaysASuspect) {
  const auto rescuer = make_worker("rescuer");
  add_job("normal", "book");
  ASSERT_TRUE(make_worker("dying")->claim());
  reclaim_one(*rescuer);
  EXPECT_EQ(rescuer->release(rescuer->claim()->lease), LeaseState::held);
  EXPECT_EQ(holder("normal"), "suspect");
  EXPECT_TRUE(rescuer->claim()->lease.suspect);
}

// --- Redis fails --------------------------------------------------------------------------------------------------

TEST_F(RedisFailure, FlushedScriptsAreSentAgain) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  admin.command({"SCRIPT", "FLUSH"});
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  const std::string sha1(scripts::heartbeat.sha1);
  EXPECT_EQ(admin.command({"SCRIPT", "EXISTS", sha1}).at(0).integer, 1) << "the text and its name belong together";
  admin.command({"SCRIPT", "FLUSH"});
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
}

TEST_F(RedisFailure, DeletedGroupIsMadeAgainAndRunningJobsKeepTheirLeases) {
  RedisQueueSettings patient = settings("a");
  patient.lease = milliseconds(3'600'000);
  RedisQueue worker(patient);
  add_job("normal", "running");
  add_job("normal", "waiting");
  const auto claimed = worker.claim();
  admin.command({"XGROUP", "DESTROY", "tts:q:normal", "render"});
  patient.worker = "b";
  RedisQueue other(patient);
  EXPECT_EQ(other.claim()->job.id, "waiting");
  EXPECT_FALSE(other.claim());
  EXPECT_EQ(worker.heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(worker.complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_EQ(length("q:normal"), 1);
}

TEST_F(RedisFailure, HeartbeatAloneBringsALeaseBackIntoANewGroup) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  admin.command({"XGROUP", "DESTROY", "tts:q:normal", "render"});
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(holder("normal"), "a");
}

TEST_F(RedisFailure, DeletedStreamIsMadeAgainAndTheRunningJobStillCompletes) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  admin.command({"DEL", "tts:q:normal"});
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_EQ(state("book"), "done");
  add_job("normal", "next");
  EXPECT_EQ(worker->claim()->job.id, "next");
}

TEST_F(RedisFailure, FlushedDatabaseIsNoticedBeforeAnythingIsPublished) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  admin.command({"FLUSHALL"});
  EXPECT_EQ(worker->begin_commit(claimed->lease, "x"), LeaseState::lost);
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::lost);
  EXPECT_EQ(admin.command({"EXISTS", "tts:job:book"}).integer, 0);
  add_job("normal", "book");
  EXPECT_EQ(worker->claim()->job.id, "book");
}

TEST_F(RedisFailure, DeletedEntryBuriesItsJobInsteadOfStoppingTheQueue) {
  const auto worker = make_worker("a");
  const std::string entry = add_job("normal", "book");
  add_job("normal", "next");
  worker->release(worker->claim()->lease);
  admin.command({"XDEL", "tts:q:normal", entry});
  EXPECT_EQ(worker->claim()->job.id, "next");
  EXPECT_EQ(state("book"), "dead");
  EXPECT_EQ(field("book", "error"), "its queue entry was deleted");
}

TEST_F(RedisFailure, LostAcknowledgementDoesNotRenderTwice) {
  const auto worker = make_worker("a");
  const std::string payload = R"({"id":"book","input":"a.txt","output":"a.mp3"})";
  const std::string entry = add("normal", payload);
  const auto claimed = worker->claim();
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  // As on a replica that saw the record but not the acknowledgement.
  admin.command({"DEL", "tts:q:normal"});
  admin.command({"XADD", "tts:q:normal", entry, "job", payload});
  admin.command({"HSET", "tts:index", "normal:" + entry, "book"});
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(state("book"), "done");
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisFailure, OutOfMemoryRefusesNewJobsAndFinishesOldOnes) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  add_job("normal", "second");
  worker->intake();
  admin.command({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_THROW(add_job("normal", "refused"), QueueUnavailable);
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  worker->announce("{}");
  EXPECT_EQ(worker->heartbeat(claimed->lease, {0.5, 1}), LeaseState::held);
  EXPECT_EQ(worker->begin_commit(claimed->lease, "x"), LeaseState::held);
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_EQ(state("book"), "done");
  EXPECT_EQ(worker->fail(worker->claim()->lease, "x", FailureKind::permanent), FailureOutcome::dead);
  EXPECT_TRUE(make_worker("late")->connect().size() == 1) << "only persistence is complained about";
}

TEST_F(RedisFailure, ReplicaIsNoQueueForNow) {
  add_job("normal", "book");
  const auto worker = make_worker("a");
  worker->intake();
  admin.command({"REPLICAOF", "127.0.0.1", "1"});
  EXPECT_THROW(worker->claim(), QueueUnavailable);
  admin.command({"REPLICAOF", "NO", "ONE"});
  EXPECT_EQ(worker->claim()->job.id, "book");
}

TEST_F(RedisFailure, MissingPasswordIsForAPersonToMend) {
  admin.command({"CONFIG", "SET", "requirepass", "secret"});
  EXPECT_THROW(make_worker("a")->claim(), QueueError);
  RedisQueueSettings with_password = settings("a");
  with_password.password = "secret";
  EXPECT_FALSE(RedisQueue(with_password).claim());
}

TEST_F(RedisFailure, ForeignProtocolVersionIsRefused) {
  admin.command({"SET", "tts:protocol", "7"});
  try {
    make_worker("a")->connect();
    FAIL() << "connected";
  } catch (const QueueError& error) {
    EXPECT_NE(std::string(error.what()).find("\"7\""), std::string::npos) << error.what();
  }
}

TEST(RedisRestart, WithAppendOnlyFileNothingIsLostAndLeasesGoOn) {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  RedisQueueSettings settings;
  settings.url = server.url();
  RedisQueue worker(settings);
  EXPECT_TRUE(worker.connect().empty());
  RedisConnection user(parse_redis_url(server.url()), {}, "user");
  for (const char* id : {"one", "two"})
    user.command(
        {"XADD", "tts:q:normal", "*", "job", std::string(R"({"input":"a.txt","output":"a.mp3","id":")") + id + "\"}"});
  const auto claimed = worker.claim();
  server.kill();
  EXPECT_THROW(worker.heartbeat(claimed->lease, {}), QueueUnavailable);
  EXPECT_THROW(worker.complete(claimed->lease, "{}"), QueueUnavailable);
  server.start();
  EXPECT_EQ(worker.heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(worker.complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_EQ(worker.claim()->job.id, "two");
}

TEST(RedisRestart, StoppedServerIsGivenUpAndFoundAgain) {
  const RedisServer server;
  RedisQueueSettings settings;
  settings.url = server.url();
  settings.timeouts.command = milliseconds(100);
  RedisQueue worker(settings);
  RedisConnection user(parse_redis_url(server.url()), {}, "user");
  user.command({"XADD", "tts:q:low", "*", "job", R"({"id":"book","input":"a.txt","output":"a.mp3"})"});
  const auto claimed = worker.claim();
  server.send_signal(SIGSTOP);
  EXPECT_THROW(worker.heartbeat(claimed->lease, {}), QueueUnavailable);
  server.send_signal(SIGCONT);
  EXPECT_TRUE(eventually([&] {
    try {
      return worker.complete(claimed->lease, "{}") == LeaseState::held;
    } catch (const QueueUnavailable&) {
      return false;
    }
  }));
}

TEST_F(RedisFailure, ClaimWhoseReplyWasLostIsRepeatedAndGivesTheSameJob) {
  RedisQueueSettings impatient = settings("a");
  impatient.timeouts.command = milliseconds(100);
  RedisQueue worker(impatient);
  add_job("normal", "first");
  add_job("normal", "second");
  worker.intake();
  worker.release(worker.claim()->lease); // now the server knows the script
  // The server reads the command, executes it when it wakes up, and finds nobody to answer.
  server.send_signal(SIGSTOP);
  EXPECT_THROW(worker.claim(), QueueUnavailable);
  server.send_signal(SIGCONT);
  ASSERT_TRUE(eventually([&] { return state("first") == "running"; }));
  std::optional<ClaimedJob> claimed;
  EXPECT_TRUE(eventually([&] {
    try {
      claimed = worker.claim();
      return true;
    } catch (const QueueUnavailable&) {
      return false;
    }
  }));
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->job.id, "first");
  EXPECT_EQ(worker.complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_EQ(state("second"), "queued");
}

// --- Permissions --------------------------------------------------------------------------------------------------

/// The lines of PROTOCOL.md that begin with "ACL SETUSER", as commands.
std::vector<std::vector<std::string>> documented_users() {
  std::ifstream file(AUDIOBOOKD_SOURCE_DIR "/jobs/PROTOCOL.md");
  std::vector<std::vector<std::string>> commands;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("ACL SETUSER"))
      continue;
    std::istringstream words(line);
    commands.emplace_back(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>());
  }
  return commands;
}

TEST_F(RedisPermissions, DocumentedProducerCanAskAndLookButNotTouch) {
  for (const auto& words : documented_users())
    admin.command(std::vector<std::string_view>(words.begin(), words.end()));
  const auto worker = make_worker("a");
  RedisConnection producer(parse_redis_url("unix://producer:producer-password@" + server.socket()), {}, "producer");
  producer.command({"XADD", "tts:q:high", "*", "job", R"({"id":"book","input":"a.txt","output":"a.mp3"})"});
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_EQ(producer.command({"HGET", "tts:job:book", "state"}).text, "running");
  producer.command({"XREAD", "STREAMS", "tts:events", "0"});
  producer.command({"XADD", "tts:control", "*", "cmd", "cancel", "id", "book"});
  producer.command({"SUBSCRIBE", "tts:events:book"});

  RedisConnection producer_looks(parse_redis_url("unix://producer:producer-password@" + server.socket()), {}, "looks");
  RedisConnection thief(parse_redis_url("unix://producer:producer-password@" + server.socket()), {}, "thief");
  const auto expect_forbidden = [&](std::vector<std::string_view> words) {
    try {
      thief.command(words);
      ADD_FAILURE() << words[0] << " was allowed";
    } catch (const RedisCommandError& error) {
      EXPECT_EQ(error.code(), "NOPERM") << error.what();
    }
  };
  expect_forbidden({"HSET", "tts:job:book", "state", "done"});
  expect_forbidden({"DEL", "tts:job:book"});
  expect_forbidden({"XACK", "tts:q:high", "render", "1-1"});
  expect_forbidden({"XCLAIM", "tts:q:high", "render", "thief", "0", "1-1"});
  expect_forbidden({"XREADGROUP", "GROUP", "render", "thief", "STREAMS", "tts:q:high", ">"});
  expect_forbidden({"EVAL", "return 1", "0"});
  expect_forbidden({"XRANGE", "tts:q:high", "-", "+"});
  for (const char* list : {"tts:jobs", "tts:delayed", "tts:ready:high", "tts:workers"})
    producer_looks.command({"ZRANGE", list, "0", "-1"});
  producer_looks.command({"XRANGE", "tts:dead", "-", "+"});
  producer_looks.command({"GET", "tts:worker:a"});
  expect_forbidden({"XADD", "tts:dead", "*", "id", "book"});
  expect_forbidden({"GET", "tts:claim:a"});
  expect_forbidden({"ZRANGE", "tts:ended", "0", "-1"});
  expect_forbidden({"FLUSHALL"});
}

TEST_F(RedisPermissions, DocumentedWorkerCanDoAllItsWork) {
  for (const auto& words : documented_users())
    admin.command(std::vector<std::string_view>(words.begin(), words.end()));
  RedisQueueSettings as_worker = settings("a");
  as_worker.url = "unix://worker:worker-password@" + server.socket();
  RedisQueue worker(as_worker);
  worker.connect();
  for (const char* id : {"done", "released", "failed", "cancelled", "buried"})
    add_job("normal", id);
  EXPECT_TRUE(worker.wait_for_work(milliseconds(1)));
  EXPECT_EQ(worker.intake().size(), 5u);
  worker.announce("{}");
  const auto done = worker.claim();
  EXPECT_EQ(worker.heartbeat(done->lease, {}), LeaseState::held);
  EXPECT_EQ(worker.begin_commit(done->lease, "x"), LeaseState::held);
  EXPECT_EQ(worker.complete(done->lease, "{}"), LeaseState::held);
  EXPECT_EQ(worker.release(worker.claim()->lease), LeaseState::held);
  EXPECT_EQ(worker.fail(worker.claim()->lease, "x", FailureKind::transient), FailureOutcome::retry);
  EXPECT_EQ(worker.fail(worker.claim()->lease, "x", FailureKind::permanent), FailureOutcome::dead);
  EXPECT_TRUE(eventually([&] { return worker.promote() == 1; }));
  command("cancel", "id", "cancelled");
  EXPECT_EQ(worker.poll_control().at(0).outcome, "cancelled");
  ASSERT_TRUE(worker.claim());
  reclaim_one(worker);
  EXPECT_EQ(worker.counts().dead, 1u);
  command("retry", "id", "failed");
  command("purge", "id", "done");
  command("drain", "worker", "a");
  EXPECT_EQ(worker.poll_control().size(), 3u);
  EXPECT_EQ(worker.purged(), std::vector<std::string>{"done"});
  EXPECT_EQ(worker.states(std::vector<std::string>{"cancelled", "done"}), (std::vector<std::string>{"cancelled", ""}));
  EXPECT_EQ(worker.announce("{}"), WorkerOrder::drain);
  worker.retire();
}

} // namespace
} // namespace audiobookd::jobs
