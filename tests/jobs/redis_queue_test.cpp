// The road of a job through the queue when nothing breaks: intake, claim, heartbeat, finish, retry, control.
#include "jobs/redis_queue.h"
#include "tests/jobs/redis_fixture.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <thread>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;

using RedisIntake = RedisQueueFixture;
using RedisClaim = RedisQueueFixture;
using RedisLease = RedisQueueFixture;
using RedisRetry = RedisQueueFixture;
using RedisControl = RedisQueueFixture;

// --- Intake -------------------------------------------------------------------------------------------------------

TEST_F(RedisIntake, NewJobIsVisibleBeforeItRuns) {
  const auto worker = make_worker("a");
  add_job("normal", "book", R"(,"title":"A Book")");
  const auto reports = worker->intake();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].id, "book");
  EXPECT_EQ(reports[0].queue, "normal");
  EXPECT_EQ(reports[0].state, "queued");
  EXPECT_EQ(state("book"), "queued");
  EXPECT_EQ(field("book", "progress"), "0");
  EXPECT_EQ(field("book", "output"), "book.mp3");
  EXPECT_EQ(field("book", "title"), "A Book");
  EXPECT_TRUE(has_event("book", "queued", ""));
  EXPECT_TRUE(worker->intake().empty());
}

TEST_F(RedisIntake, MalformedJobIsBuriedWithItsReasonAndTheNextOneRuns) {
  const auto worker = make_worker("a");
  add("normal", R"({"id":"typo","input":"a.txt","outptu":"a.mp3"})");
  const std::string nameless = add("normal", "{");
  admin.command({"XADD", "tts:q:normal", "*", "payload", "{}"});
  add_job("normal", "good");
  EXPECT_EQ(worker->intake().size(), 4u);
  EXPECT_EQ(state("typo"), "dead");
  EXPECT_NE(field("typo", "error").find("did you mean \"output\""), std::string::npos);
  EXPECT_EQ(state(nameless), "dead");
  EXPECT_NE(field(nameless, "error").find("not valid JSON"), std::string::npos);
  EXPECT_EQ(length("dead"), 3);
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->job.id, "good");
  EXPECT_EQ(length("q:normal"), 1);
}

TEST_F(RedisIntake, DeadLetterHoldsReasonAndPayload) {
  const auto worker = make_worker("a");
  const std::string payload = R"({"id":"bad","input":"/etc/passwd","output":"a.mp3"})";
  const std::string entry = add("low", payload);
  worker->intake();
  const RedisValue dead = admin.command({"XRANGE", "tts:dead", "-", "+"});
  ASSERT_EQ(dead.list.size(), 1u);
  std::vector<std::string> words;
  for (const RedisValue& word : dead.at(0).at(1).list)
    words.push_back(word.text);
  EXPECT_EQ(words, (std::vector<std::string>{"id", "bad", "queue", "low", "entry", entry, "attempts", "0", "error",
                                             field("bad", "error"), "job", payload}));
}

TEST_F(RedisIntake, DuplicateIdIsDroppedWhateverTheFirstIsDoing) {
  const auto worker = make_worker("a");
  const auto expect_duplicate = [&] {
    add_job("high", "book");
    const auto reports = worker->intake();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_EQ(reports[0].state, "duplicate");
    EXPECT_EQ(length("q:high"), 0);
  };
  add_job("normal", "book");
  worker->intake();
  expect_duplicate();
  EXPECT_EQ(state("book"), "queued");
  EXPECT_TRUE(has_event("book", "duplicate", "book"));
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  expect_duplicate();
  EXPECT_EQ(state("book"), "running");
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  expect_duplicate();
  EXPECT_EQ(state("book"), "done");
  EXPECT_FALSE(worker->claim());
}

TEST_F(RedisIntake, MalformedDuplicateDoesNotTouchTheFirst) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const std::string entry = add("normal", R"({"id":"book","nonsense":1})");
  worker->intake();
  EXPECT_EQ(state("book"), "queued");
  EXPECT_EQ(state(entry), "dead");
}

TEST_F(RedisIntake, SameIdempotencyKeyRendersOnce) {
  const auto worker = make_worker("a");
  add_job("normal", "first", R"(,"idempotency_key":"order-7")");
  add_job("normal", "second", R"(,"idempotency_key":"order-7")");
  const auto reports = worker->intake();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[1].state, "duplicate");
  EXPECT_EQ(reports[1].reason, "first");
  EXPECT_EQ(admin.command({"GET", "tts:idem:order-7"}).text, "first");
  EXPECT_GT(admin.command({"TTL", "tts:idem:order-7"}).integer, 6 * 86400);
  EXPECT_EQ(length("q:normal"), 1);
}

TEST_F(RedisIntake, EntriesOfTwoQueuesWithOneEntryIdBothRun) {
  const auto worker = make_worker("a");
  const std::string json = R"({"text":"Hello.","output":"a.mp3"})";
  admin.command({"XADD", "tts:q:high", "1700000000000-0", "job", json});
  admin.command({"XADD", "tts:q:low", "1700000000000-0", "job", json});
  const auto reports = worker->intake();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].id, "1700000000000-0");
  EXPECT_EQ(reports[1].id, "1700000000000-0.low");
  EXPECT_EQ(worker->claim()->job.id, "1700000000000-0");
  EXPECT_EQ(worker->claim()->job.id, "1700000000000-0.low");
}

TEST_F(RedisIntake, TwoWorkersTakeEachEntryInOnce) {
  const auto a = make_worker("a");
  const auto b = make_worker("b");
  constexpr int count = 40;
  for (int i = 0; i < count; ++i)
    add_job("normal", "job" + std::to_string(i));
  std::size_t taken_by_a = 0;
  std::thread thread([&] {
    for (int i = 0; i < count; ++i)
      taken_by_a += a->intake().size();
  });
  std::size_t taken_by_b = 0;
  for (int i = 0; i < count; ++i)
    taken_by_b += b->intake().size();
  thread.join();
  EXPECT_EQ(taken_by_a + taken_by_b, static_cast<std::size_t>(count));
  EXPECT_EQ(length("q:normal"), count);
}

TEST_F(RedisIntake, JobOfANewerFormatIsLeftToANewerWorker) {
  const auto worker = make_worker("a");
  add("normal", R"({"v":2,"id":"later","fields":"unknown here"})");
  add_job("normal", "now");
  worker->intake();
  EXPECT_EQ(state("later"), "queued");
  EXPECT_EQ(field("later", "v"), "2");
  EXPECT_EQ(worker->claim()->job.id, "now");
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(state("later"), "queued");
  EXPECT_EQ(field("later", "attempts"), "0");
  const RedisValue waiting = admin.command({"XPENDING", "tts:q:normal", "render", "-", "+", "10", "v2"});
  EXPECT_EQ(waiting.list.size(), 1u);
}

// --- Claim --------------------------------------------------------------------------------------------------------

TEST_F(RedisClaim, QueuesAreServedInStrictOrder) {
  const auto worker = make_worker("a");
  add_job("low", "l");
  add_job("normal", "n1");
  add_job("normal", "n2");
  add_job("high", "h");
  std::vector<std::string> order;
  while (const auto claimed = worker->claim())
    order.push_back(claimed->job.id);
  EXPECT_EQ(order, (std::vector<std::string>{"h", "n1", "n2", "l"}));
}

TEST_F(RedisClaim, GivesExactlyOneWithAllThatTheWorkerNeeds) {
  const auto worker = make_worker("a");
  for (const char* queue : {"high", "normal", "low"})
    add_job(queue, std::string("of-") + queue, R"(,"voice":"narrator")");
  worker->intake();
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->job.id, "of-high");
  EXPECT_EQ(claimed->queue, "high");
  EXPECT_EQ(claimed->job.voice, "narrator");
  EXPECT_EQ(claimed->lease.owner, "a");
  EXPECT_EQ(claimed->lease.attempt, 1);
  EXPECT_FALSE(claimed->lease.suspect);
  EXPECT_EQ(claimed->previous_commit, "");
  EXPECT_EQ(state("of-high"), "running");
  EXPECT_EQ(field("of-high", "owner"), "a");
  EXPECT_EQ(state("of-normal"), "queued");
  EXPECT_EQ(state("of-low"), "queued");
  const QueueCounts counts = worker->counts();
  EXPECT_EQ(counts.queues[0].running, 1u);
  EXPECT_EQ(counts.queues[1].running, 0u);
  EXPECT_EQ(counts.queues[1].open, 1u);
}

TEST_F(RedisClaim, LongestJobArrivesWhole) {
  const auto worker = make_worker("a");
  const std::string head = R"({"output":"a.mp3","text":")";
  const std::string text(max_job_bytes - head.size() - 2, 'x');
  add("normal", head + text + "\"}");
  const std::string too_long = add("normal", head + text + "y\"}");
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_TRUE(claimed->job.text == text);
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(state(too_long), "dead");
  EXPECT_NE(field(too_long, "error").find("4194305 bytes"), std::string::npos);
}

TEST_F(RedisClaim, TwoWorkersNeverGetTheSameJob) {
  const auto a = make_worker("a");
  const auto b = make_worker("b");
  for (int i = 0; i < 60; ++i)
    add_job("normal", "job" + std::to_string(i));
  std::vector<std::string> of_a;
  std::thread thread([&] {
    while (const auto claimed = a->claim())
      of_a.push_back(claimed->job.id);
  });
  std::vector<std::string> of_b;
  while (const auto claimed = b->claim())
    of_b.push_back(claimed->job.id);
  thread.join();
  std::vector<std::string> all = of_a;
  all.insert(all.end(), of_b.begin(), of_b.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all.size(), 60u);
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

TEST_F(RedisClaim, TokenInTheRecordIsNotTheSecret) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  Lease forged = claimed->lease;
  forged.token = field("book", "token");
  ASSERT_FALSE(forged.token.empty());
  EXPECT_EQ(worker->complete(forged, "{}"), LeaseState::lost);
  EXPECT_EQ(state("book"), "running");
}

TEST_F(RedisClaim, WaitWakesForWhatWasAddedBeforeAndWhile) {
  const auto worker = make_worker("a");
  EXPECT_FALSE(worker->wait_for_work(milliseconds(1)));
  add_job("low", "before");
  EXPECT_TRUE(worker->wait_for_work(milliseconds(60'000)));
  worker->intake();
  EXPECT_FALSE(worker->wait_for_work(milliseconds(1)));
  std::thread user([&] {
    EXPECT_TRUE(eventually([&] {
      return admin.command({"INFO", "clients"}).text.find("blocked_clients:1") != std::string::npos;
    }));
    command("pause", "", "");
  });
  EXPECT_TRUE(worker->wait_for_work(milliseconds(60'000)));
  user.join();
}

// --- Leases -------------------------------------------------------------------------------------------------------

TEST_F(RedisLease, HeartbeatShowsProgressAndEta) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  EXPECT_EQ(worker->heartbeat(claimed->lease, {0.25, 90.4}), LeaseState::held);
  EXPECT_EQ(field("book", "progress"), "0.2500");
  EXPECT_EQ(field("book", "eta"), "90");
  EXPECT_EQ(worker->heartbeat(claimed->lease, {0.5, std::nullopt}), LeaseState::held);
  EXPECT_EQ(field("book", "eta"), "");
}

TEST_F(RedisLease, HeartbeatShowsWhenTheBeginningCouldBeHeard) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(field("book", "first_audio_ms"), "");
  EXPECT_EQ(worker->heartbeat(claimed->lease, {0.5, std::nullopt, milliseconds(830)}), LeaseState::held);
  EXPECT_EQ(worker->begin_commit(claimed->lease, "sha:1"), LeaseState::held);
  EXPECT_EQ(field("book", "first_audio_ms"), "830");
}

TEST_F(RedisLease, AClaimCanBeLimitedToHigherQueues) {
  const auto worker = make_worker("a");
  add_job("low", "third");
  add_job("normal", "second");
  EXPECT_FALSE(worker->claim("high"));
  add_job("high", "first");
  EXPECT_EQ(worker->claim("high")->lease.id, "first");
  EXPECT_FALSE(worker->claim("high"));
  EXPECT_EQ(worker->claim("normal")->lease.id, "second");
  EXPECT_FALSE(worker->claim("normal"));
  EXPECT_EQ(worker->claim()->lease.id, "third");
}

TEST_F(RedisLease, HeartbeatMakesTheLeaseYoungAgain) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  const auto idle_ms = [&] {
    return admin.command({"XPENDING", "tts:q:normal", "render", "-", "+", "1"}).at(0).at(2).integer;
  };
  EXPECT_TRUE(eventually([&] { return idle_ms() >= 200; }));
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_LT(idle_ms(), 200);
}

TEST_F(RedisLease, CompletedJobLeavesTheQueueAndKeepsItsResult) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  EXPECT_EQ(worker->begin_commit(claimed->lease, "sha:1"), LeaseState::held);
  EXPECT_EQ(state("book"), "committing");
  EXPECT_EQ(worker->heartbeat(claimed->lease, {1, 0}), LeaseState::held);
  EXPECT_EQ(state("book"), "committing");
  EXPECT_EQ(worker->complete(claimed->lease, R"({"seconds":12})"), LeaseState::held);
  EXPECT_EQ(state("book"), "done");
  EXPECT_EQ(field("book", "result"), R"({"seconds":12})");
  EXPECT_EQ(length("q:normal"), 0);
  EXPECT_EQ(admin.command({"XPENDING", "tts:q:normal", "render"}).at(0).integer, 0);
  EXPECT_EQ(admin.command({"HLEN", "tts:index"}).integer, 0);
  EXPECT_GT(admin.command({"TTL", "tts:job:book"}).integer, 29 * 86400);
}

TEST_F(RedisLease, CompletionMayBeRepeatedWhenItsReplyWasLost) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  EXPECT_EQ(worker->complete(claimed->lease, R"({"n":1})"), LeaseState::held);
  EXPECT_EQ(worker->complete(claimed->lease, R"({"n":2})"), LeaseState::held);
  EXPECT_EQ(field("book", "result"), R"({"n":1})");
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::lost);
  EXPECT_EQ(worker->fail(claimed->lease, "no", FailureKind::transient), FailureOutcome::lost);
  EXPECT_EQ(worker->release(claimed->lease), LeaseState::lost);
  EXPECT_EQ(state("book"), "done");
}

TEST_F(RedisLease, ReleaseUsesNoAttemptAndTheJobComesBackFirst) {
  const auto a = make_worker("a");
  const auto b = make_worker("b");
  add_job("normal", "first");
  add_job("normal", "second");
  for (int i = 0; i < 5; ++i) {
    const auto claimed = a->claim();
    ASSERT_TRUE(claimed);
    EXPECT_EQ(claimed->job.id, "first");
    EXPECT_EQ(claimed->lease.attempt, 1);
    EXPECT_EQ(a->release(claimed->lease), LeaseState::held);
    EXPECT_EQ(a->release(claimed->lease), LeaseState::held); // the reply was lost
    EXPECT_EQ(state("first"), "queued");
  }
  EXPECT_EQ(b->claim()->job.id, "first");
}

TEST_F(RedisLease, AnnouncedWorkerIsVisibleUntilItRetires) {
  const auto worker = make_worker("a");
  worker->announce(R"({"host":"h"})");
  EXPECT_EQ(admin.command({"GET", "tts:worker:a"}).text, R"({"host":"h"})");
  EXPECT_GT(admin.command({"TTL", "tts:worker:a"}).integer, 0);
  worker->retire();
  EXPECT_TRUE(admin.command({"GET", "tts:worker:a"}).is_nil());
}

TEST_F(RedisLease, SettingsThatCannotWorkAreRefused) {
  RedisQueueSettings bad = settings("a");
  bad.lease = bad.heartbeat;
  EXPECT_THROW(RedisQueue{bad}, QueueError);
  EXPECT_THROW(RedisQueue{settings("released")}, QueueError);
  EXPECT_THROW(RedisQueue{settings("v2")}, QueueError);
  EXPECT_EQ(RedisQueue{settings("")}.worker().size(), 34u);
}

// --- Retries ------------------------------------------------------------------------------------------------------

TEST_F(RedisRetry, TransientFailureWaitsAndComesBackWithTheNextAttempt) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto first = worker->claim();
  EXPECT_EQ(worker->fail(first->lease, "disk full", FailureKind::transient), FailureOutcome::retry);
  EXPECT_EQ(worker->fail(first->lease, "disk full", FailureKind::transient), FailureOutcome::retry); // reply lost
  EXPECT_EQ(state("book"), "retry_wait");
  EXPECT_EQ(field("book", "error"), "disk full");
  EXPECT_EQ(field("book", "attempts"), "1");
  EXPECT_EQ(worker->counts().delayed, 1u);
  EXPECT_FALSE(worker->claim());
  EXPECT_TRUE(eventually([&] { return worker->promote() == 1; }));
  EXPECT_EQ(state("book"), "queued");
  const auto second = worker->claim();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->lease.attempt, 2);
  EXPECT_NE(second->lease.token, first->lease.token);
}

TEST_F(RedisRetry, WaitDoublesWithEveryAttemptUpToTheLongest) {
  RedisQueueSettings slow = settings("a");
  slow.retry_base = milliseconds(100'000);
  slow.retry_longest = milliseconds(250'000);
  RedisQueue worker(slow);
  add_job("normal", "book", R"(,"max_attempts":9)");
  for (const double base : {100'000.0, 200'000.0, 250'000.0, 250'000.0}) {
    const auto claimed = worker.claim();
    ASSERT_TRUE(claimed);
    EXPECT_EQ(worker.fail(claimed->lease, "x", FailureKind::transient), FailureOutcome::retry);
    const double wait = std::stod(field("book", "retry_at")) - std::stod(field("book", "updated_at"));
    EXPECT_GE(wait, base);
    EXPECT_LE(wait, base * 1.25 + 1);
    admin.command({"ZADD", "tts:delayed", "0", "book"});
    EXPECT_EQ(worker.promote(), 1u);
  }
}

TEST_F(RedisRetry, LastAttemptBuriesTheJobWithItsReason) {
  const auto worker = make_worker("a");
  add_job("normal", "book", R"(,"max_attempts":2)");
  EXPECT_EQ(worker->fail(worker->claim()->lease, "first", FailureKind::transient), FailureOutcome::retry);
  EXPECT_TRUE(eventually([&] { return worker->promote() == 1; }));
  const auto second = worker->claim();
  EXPECT_EQ(worker->fail(second->lease, "second", FailureKind::transient), FailureOutcome::dead);
  EXPECT_EQ(worker->fail(second->lease, "second", FailureKind::transient), FailureOutcome::dead); // reply lost
  EXPECT_EQ(state("book"), "dead");
  EXPECT_EQ(field("book", "error"), "second");
  EXPECT_EQ(length("dead"), 1);
  EXPECT_EQ(length("q:normal"), 0);
  EXPECT_EQ(admin.command({"TTL", "tts:job:book"}).integer, -1);
}

TEST_F(RedisRetry, PermanentFailureIsBuriedAtOnce) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  EXPECT_EQ(worker->fail(worker->claim()->lease, "no such voice", FailureKind::permanent), FailureOutcome::dead);
  EXPECT_EQ(state("book"), "dead");
  EXPECT_FALSE(worker->claim());
}

TEST_F(RedisRetry, JobDoesNotRunBeforeItsTime) {
  const auto worker = make_worker("a");
  const std::int64_t now = std::stoll(admin.command({"TIME"}).at(0).text);
  add_job("normal", "later", ",\"not_before\":" + std::to_string(now + 1000));
  add_job("normal", "past", ",\"not_before\":" + std::to_string(now - 1000));
  worker->intake();
  EXPECT_EQ(state("later"), "queued");
  EXPECT_EQ(worker->claim()->job.id, "past");
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(worker->promote(), 0u);
  admin.command({"ZADD", "tts:delayed", "0", "later"}); // its time has come
  EXPECT_EQ(worker->promote(), 1u);
  EXPECT_EQ(worker->claim()->job.id, "later");
  EXPECT_FALSE(worker->claim());
}

TEST_F(RedisRetry, JobPromotedBeforeItWasDeliveredRunsOnce) {
  const auto worker = make_worker("a");
  const std::int64_t now = std::stoll(admin.command({"TIME"}).at(0).text);
  add_job("normal", "later", ",\"not_before\":" + std::to_string(now + 1000));
  worker->intake();
  admin.command({"ZADD", "tts:delayed", "0", "later"});
  EXPECT_EQ(worker->promote(), 1u);
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_FALSE(make_worker("b")->claim());
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_FALSE(worker->claim());
}

// --- Control ------------------------------------------------------------------------------------------------------

TEST_F(RedisControl, QueuedJobIsCancelledAtOnce) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  command("cancel", "id", "book");
  EXPECT_TRUE(worker->poll_control().empty()) << "the job was not taken in yet: the command waits for it";
  worker->intake();
  const auto reports = worker->poll_control();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].outcome, "cancelled");
  EXPECT_EQ(state("book"), "cancelled");
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(length("q:normal"), 0);
  EXPECT_EQ(length("control"), 0);
  EXPECT_GT(admin.command({"TTL", "tts:job:book"}).integer, 29 * 86400);
}

TEST_F(RedisControl, WaitingRetryIsCancelled) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  worker->fail(worker->claim()->lease, "x", FailureKind::transient);
  command("cancel", "id", "book");
  worker->poll_control();
  EXPECT_EQ(state("book"), "cancelled");
  EXPECT_EQ(worker->counts().delayed, 0u);
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisControl, RunningJobIsCancelledByItsNextHeartbeat) {
  const auto worker = make_worker("a");
  const auto other = make_worker("b");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  command("cancel", "id", "book");
  EXPECT_EQ(other->poll_control().at(0).outcome, "requested");
  EXPECT_EQ(state("book"), "running");
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::cancelled);
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::cancelled); // reply lost
  EXPECT_EQ(state("book"), "cancelled");
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::cancelled);
  EXPECT_EQ(state("book"), "cancelled");
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisControl, CancelledJobIsNotPublishedReleasedOrTriedAgain) {
  const auto worker = make_worker("a");
  for (const char* id : {"commit", "release", "fail"}) {
    add_job("normal", id);
    const auto claimed = worker->claim();
    ASSERT_TRUE(claimed);
    command("cancel", "id", id);
    worker->poll_control();
    if (claimed->job.id == "commit")
      EXPECT_EQ(worker->begin_commit(claimed->lease, "x"), LeaseState::cancelled);
    else if (claimed->job.id == "release")
      EXPECT_EQ(worker->release(claimed->lease), LeaseState::cancelled);
    else
      EXPECT_EQ(worker->fail(claimed->lease, "x", FailureKind::transient), FailureOutcome::cancelled);
    EXPECT_EQ(state(id), "cancelled");
  }
  EXPECT_EQ(length("q:normal"), 0);
}

TEST_F(RedisControl, CancelComesTooLateForAJobThatIsBeingPublished) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  worker->begin_commit(claimed->lease, "x");
  command("cancel", "id", "book");
  EXPECT_NE(worker->poll_control().at(0).outcome.find("too late"), std::string::npos);
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
}

TEST_F(RedisControl, CommandsThatMakeNoSenseAreAnswered) {
  const auto worker = make_worker("a");
  command("cancel", "id", "unheard-of");
  command("cancel", "", "");
  command("explode", "", "");
  command("pause", "queue", "middle");
  std::vector<std::string> outcomes;
  for (const ControlReport& report : worker->poll_control())
    outcomes.push_back(report.outcome);
  EXPECT_EQ(outcomes,
            (std::vector<std::string>{"no such job", "cancel needs an id", "unknown command", "no such queue"}));
  EXPECT_TRUE(has_event("unheard-of", "control", "no such job"));
  EXPECT_EQ(length("control"), 0);
}

TEST_F(RedisControl, PausedQueueIsSkippedAndPausedAllStandsStill) {
  const auto worker = make_worker("a");
  add_job("high", "h");
  add_job("normal", "n");
  add_job("low", "l");
  command("pause", "queue", "high");
  worker->poll_control();
  EXPECT_TRUE(worker->counts().queues[0].paused);
  EXPECT_EQ(worker->claim()->job.id, "n");
  command("pause", "", "");
  worker->poll_control();
  EXPECT_TRUE(worker->counts().paused);
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(worker->intake().size(), 2u) << "paused queues take jobs in: h and l";
  command("resume", "", "");
  command("resume", "queue", "high");
  worker->poll_control();
  EXPECT_EQ(worker->claim()->job.id, "h");
  EXPECT_EQ(worker->claim()->job.id, "l");
}

} // namespace
} // namespace audiobookd::jobs
