// What operators and time do to jobs: retry, purge, drain, waiting too long, records that expire, devices that fail.
#include "jobs/redis_queue.h"
#include "jobs/redis_script.h"
#include "tests/jobs/redis_fixture.h"

#include <gtest/gtest.h>
#include <set>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RedisOperations : public RedisQueueFixture {
protected:
  /// Carries out one command. @return its outcome.
  std::string outcome_of(RedisQueue& worker, const std::string& cmd, const std::string& field = "",
                         const std::string& value = "") {
    command(cmd, field, value);
    const auto reports = worker.poll_control();
    EXPECT_EQ(reports.size(), 1u);
    return reports.empty() ? "" : reports[0].outcome;
  }

  /// A worker that gives jobs that have been ready for 60 s out first, whatever their queue.
  std::unique_ptr<RedisQueue> make_fair_worker(const std::string& name) {
    RedisQueueSettings fair = settings(name);
    fair.max_wait = seconds(60);
    return std::make_unique<RedisQueue>(fair);
  }

  /// As if the job had become ready so long ago.
  void age(const std::string& queue, const std::string& id, seconds ago) {
    const std::int64_t now = std::stoll(admin.command({"TIME"}).at(0).text);
    const std::string since = std::to_string(1000 * (now - ago.count()));
    ASSERT_EQ(admin.command({"ZADD", "tts:ready:" + queue, "XX", "CH", since, id}).integer, 1) << id << " is not ready";
    admin.command({"HSET", "tts:job:" + id, "ready_at", since});
  }

  /// Every key but the events, which tell of the past.
  std::set<std::string> keys() {
    std::set<std::string> names;
    for (const RedisValue& name : admin.command({"KEYS", "*"}).list)
      if (name.text != "tts:events")
        names.insert(name.text);
    return names;
  }

  std::vector<std::string> members(const std::string& zset) {
    std::vector<std::string> names;
    for (const RedisValue& name : admin.command({"ZRANGE", "tts:" + zset, "0", "-1"}).list)
      names.push_back(name.text);
    return names;
  }

  /// A job that was buried, as people find it. @return what was claimed.
  ClaimedJob bury(RedisQueue& worker, const std::string& id, const std::string& more = "") {
    add_job("normal", id, more);
    auto claimed = worker.claim();
    EXPECT_TRUE(claimed);
    EXPECT_EQ(worker.fail(claimed->lease, "no such voice", FailureKind::permanent), FailureOutcome::dead);
    return *claimed;
  }
};

using RedisMaxWait = RedisOperations;
using RedisRetryCommand = RedisOperations;
using RedisPurge = RedisOperations;
using RedisDrain = RedisOperations;
using RedisListing = RedisOperations;
using RedisRetention = RedisOperations;
using RedisCrash = RedisOperations;
using Strings = std::vector<std::string>;

// --- Waiting too long ---------------------------------------------------------------------------------------------

TEST_F(RedisMaxWait, AJobThatWaitedTooLongGoesBeforeHigherQueuesOldestFirst) {
  const auto worker = make_fair_worker("a");
  add_job("low", "l1");
  add_job("low", "l2");
  add_job("normal", "n1");
  add_job("normal", "n2");
  add_job("high", "h");
  worker->intake();
  age("low", "l2", seconds(100));
  age("normal", "n1", seconds(80));
  age("normal", "n2", seconds(50));
  std::vector<std::string> order;
  std::vector<bool> overdue;
  while (const auto claimed = worker->claim()) {
    order.push_back(claimed->job.id);
    overdue.push_back(claimed->overdue);
    EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  }
  EXPECT_EQ(order, (Strings{"l2", "n1", "h", "n2", "l1"}));
  EXPECT_EQ(overdue, (std::vector<bool>{true, true, false, false, false}));
  EXPECT_EQ(length("q:low") + length("q:normal") + length("q:high"), 0);
}

TEST_F(RedisMaxWait, ZeroMeansStrictPriorities) {
  const auto worker = [&] {
    RedisQueueSettings strict = settings("a");
    strict.max_wait = milliseconds(0);
    return std::make_unique<RedisQueue>(strict);
  }();
  add_job("low", "old");
  add_job("high", "new");
  worker->intake();
  age("low", "old", seconds(1'000'000));
  EXPECT_EQ(worker->claim()->job.id, "new");
  EXPECT_EQ(worker->claim()->job.id, "old");
}

TEST_F(RedisMaxWait, AClaimLimitedToHigherQueuesPausesAndSuspectsAreRespected) {
  const auto worker = make_fair_worker("a");
  add_job("low", "l");
  add_job("normal", "n");
  add_job("high", "h1");
  add_job("high", "h2");
  worker->intake();
  age("low", "l", seconds(100));
  age("normal", "n", seconds(90));
  EXPECT_EQ(worker->claim("high")->job.id, "h1");
  EXPECT_EQ(worker->claim("normal")->job.id, "n");
  outcome_of(*worker, "pause", "queue", "low");
  EXPECT_EQ(worker->claim()->job.id, "h2");
  EXPECT_FALSE(worker->claim());
  outcome_of(*worker, "resume", "queue", "low");
  admin.command({"HSET", "tts:job:l", "suspect", "1", "suspect_since", "9999999999999"});
  EXPECT_FALSE(worker->claim()) << "a busy worker runs no suspect, however long it waits";
  EXPECT_EQ(make_fair_worker("idle")->claim()->job.id, "l");
}

TEST_F(RedisMaxWait, AReplyThatWasLostIsRepeatedWithEverything) {
  const auto worker = make_fair_worker("a");
  add_job("low", "l");
  worker->intake();
  age("low", "l", seconds(100));
  const std::vector<std::string> arguments = {"a", "token", "1", "60000", "1", "60000", "60", "low", "60000"};
  const RedisValue first = run_script(admin, scripts::claim, "tts:", arguments);
  const RedisValue second = run_script(admin, scripts::claim, "tts:", arguments);
  ASSERT_EQ(first.list.size(), 9u);
  ASSERT_EQ(second.list.size(), 9u);
  for (std::size_t i = 0; i < 9; ++i)
    EXPECT_EQ(first.at(i).text, second.at(i).text) << i;
  EXPECT_EQ(first.at(8).text, "1");
}

TEST_F(RedisMaxWait, AnOverdueJobThatIsDeliveredLaterRunsOnce) {
  const auto worker = make_fair_worker("a");
  const auto other = make_fair_worker("b");
  add_job("low", "first");
  add_job("low", "second");
  worker->intake();
  age("low", "second", seconds(100)); // the stream still has it to deliver, behind the first
  const auto claimed = worker->claim();
  ASSERT_EQ(claimed->job.id, "second");
  EXPECT_EQ(other->claim()->job.id, "first");
  EXPECT_FALSE(other->claim());
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_FALSE(other->claim());
  EXPECT_EQ(length("q:low"), 1);
}

TEST_F(RedisMaxWait, ReadyListHoldsExactlyWhatCouldBeClaimed) {
  const auto worker = make_worker("a");
  const std::int64_t now = std::stoll(admin.command({"TIME"}).at(0).text);
  add_job("normal", "later", ",\"not_before\":" + std::to_string(now + 1000));
  add_job("normal", "book");
  worker->intake();
  EXPECT_EQ(members("ready:normal"), Strings{"book"});
  auto claimed = worker->claim();
  EXPECT_EQ(members("ready:normal"), Strings{});
  worker->release(claimed->lease);
  EXPECT_EQ(members("ready:normal"), Strings{"book"});
  claimed = worker->claim();
  worker->fail(claimed->lease, "x", FailureKind::transient);
  EXPECT_EQ(members("ready:normal"), Strings{});
  EXPECT_TRUE(eventually([&] { return worker->promote() == 1; }));
  EXPECT_EQ(members("ready:normal"), Strings{"book"});
  outcome_of(*worker, "cancel", "id", "book");
  EXPECT_EQ(members("ready:normal"), Strings{});
  admin.command({"ZADD", "tts:delayed", "0", "later"});
  EXPECT_EQ(worker->promote(), 1u);
  EXPECT_EQ(members("ready:normal"), Strings{"later"});
}

// --- Retry --------------------------------------------------------------------------------------------------------

TEST_F(RedisRetryCommand, DeadJobRunsAgainFromTheBeginningAsTheSameJob) {
  const auto worker = make_worker("a");
  const Lease old = bury(*worker, "book", R"(,"max_attempts":2,"voice":"narrator")").lease;
  const std::string created = field("book", "created_at");
  EXPECT_EQ(outcome_of(*worker, "retry", "id", "book"), "requeued");
  EXPECT_EQ(state("book"), "queued");
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(field("book", "error"), "");
  EXPECT_EQ(field("book", "created_at"), created);
  EXPECT_EQ(length("dead"), 0);
  EXPECT_TRUE(has_event("book", "requeued", ""));
  EXPECT_TRUE(worker->intake().empty()) << "the new entry is the old job's";
  EXPECT_EQ(worker->fail(old, "again", FailureKind::permanent), FailureOutcome::lost) << "the old lease is nobody's";
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->job.id, "book");
  EXPECT_EQ(claimed->job.voice, "narrator");
  EXPECT_EQ(claimed->lease.attempt, 1);
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  EXPECT_EQ(length("q:normal"), 0);
  EXPECT_EQ(outcome_of(*worker, "retry", "id", "book"), "neither dead nor waiting for a retry: it is done");
}

TEST_F(RedisRetryCommand, JobWithoutANameOfItsOwnKeepsItsIdThroughARetry) {
  const auto worker = make_worker("a");
  const std::string id = add("high", R"({"text":"Hello.","output":"a.mp3"})");
  worker->fail(worker->claim()->lease, "x", FailureKind::permanent);
  EXPECT_EQ(outcome_of(*worker, "retry", "id", id), "requeued");
  const auto claimed = worker->claim();
  ASSERT_TRUE(claimed);
  EXPECT_EQ(claimed->job.id, id);
  EXPECT_EQ(claimed->queue, "high");
}

TEST_F(RedisRetryCommand, WhatAnEarlierAttemptPublishedIsStillKnown) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  worker->begin_commit(claimed->lease, "sha:1");
  worker->fail(claimed->lease, "x", FailureKind::permanent);
  outcome_of(*worker, "retry", "id", "book");
  EXPECT_EQ(worker->claim()->previous_commit, "sha:1");
}

TEST_F(RedisRetryCommand, WaitingJobBecomesReadyNowAndKeepsItsAttempts) {
  RedisQueueSettings slow = settings("a");
  slow.retry_base = milliseconds(3'600'000);
  slow.retry_longest = slow.retry_base;
  RedisQueue worker(slow);
  add_job("normal", "book");
  worker.fail(worker.claim()->lease, "disk full", FailureKind::transient);
  EXPECT_FALSE(worker.claim());
  EXPECT_EQ(outcome_of(worker, "retry", "id", "book"), "requeued");
  EXPECT_EQ(members("delayed"), Strings{});
  EXPECT_EQ(worker.claim()->lease.attempt, 2);
}

TEST_F(RedisRetryCommand, WhatCannotBeRetriedIsAnswered) {
  const auto worker = make_worker("a");
  EXPECT_EQ(outcome_of(*worker, "retry", "id", "nobody"), "no such job");
  EXPECT_EQ(outcome_of(*worker, "retry"), "retry needs an id");
  bury(*worker, "book");
  admin.command({"DEL", "tts:dead"});
  EXPECT_EQ(outcome_of(*worker, "retry", "id", "book"), "its payload is gone: add it again");
  EXPECT_EQ(state("book"), "dead");
}

TEST_F(RedisRetryCommand, MalformedJobIsBuriedAgainAndStopsNobody) {
  const auto worker = make_worker("a");
  add("normal", R"({"id":"typo","input":"a.txt","outptu":"a.mp3"})");
  worker->intake();
  EXPECT_EQ(outcome_of(*worker, "retry", "id", "typo"), "requeued");
  add_job("normal", "good");
  EXPECT_EQ(worker->claim()->job.id, "good");
  EXPECT_EQ(state("typo"), "dead");
  EXPECT_EQ(length("dead"), 1);
}

// --- Purge --------------------------------------------------------------------------------------------------------

TEST_F(RedisPurge, NothingOfAnEndedJobStays) {
  const auto worker = make_worker("a");
  worker->connect();
  const std::string more = R"(,"idempotency_key":"order-7")";
  for (const std::string end : {"done", "cancelled", "dead"}) {
    admin.command({"FLUSHALL"});
    add_job("normal", "keeper");
    worker->intake();
    ASSERT_TRUE(worker->claim());
    bury(*worker, "other");
    outcome_of(*worker, "resume"); // whatever there is without the job is there now
    const auto before = keys();
    add_job("normal", "book", more);
    worker->intake();
    if (end == "cancelled") {
      outcome_of(*worker, "cancel", "id", "book");
    } else {
      const auto claimed = worker->claim();
      ASSERT_TRUE(claimed);
      ASSERT_EQ(claimed->job.id, "book");
      if (end == "done")
        worker->complete(claimed->lease, "{}");
      else
        worker->fail(claimed->lease, "x", FailureKind::permanent);
    }
    ASSERT_EQ(state("book"), end);
    EXPECT_EQ(outcome_of(*worker, "purge", "id", "book"), "purged");
    auto expected = before;
    expected.insert("tts:purged");
    auto found = keys();
    for (auto* names : {&expected, &found})
      names->erase("tts:claim:a"); // expires within a lease
    EXPECT_EQ(found, expected) << end;
    EXPECT_EQ(members("jobs").size(), 2u) << end;
    EXPECT_EQ(members("ended"), Strings{}) << end;
    EXPECT_EQ(length("dead"), 1) << end;
    EXPECT_TRUE(has_event("book", "purged", ""));
    EXPECT_EQ(outcome_of(*worker, "purge", "id", "book"), "no such job") << "a repeated command changes nothing";
    add_job("normal", "book", more);
    worker->intake();
    EXPECT_EQ(state("book"), "queued") << "id and idempotency key are free again";
  }
}

TEST_F(RedisPurge, OpenJobsStay) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  worker->intake();
  EXPECT_EQ(outcome_of(*worker, "purge", "id", "book"), "not ended: it is queued");
  const auto claimed = worker->claim();
  EXPECT_EQ(outcome_of(*worker, "purge", "id", "book"), "not ended: it is running");
  worker->fail(claimed->lease, "x", FailureKind::transient);
  EXPECT_EQ(outcome_of(*worker, "purge", "id", "book"), "not ended: it is retry_wait");
  EXPECT_EQ(outcome_of(*worker, "purge"), "purge needs an id");
  EXPECT_TRUE(worker->purged().empty());
}

TEST_F(RedisPurge, EveryWorkerLearnsOfItOnceAndOneThatStartsLaterToo) {
  const auto a = make_worker("a");
  const auto b = make_worker("b");
  EXPECT_TRUE(a->purged().empty());
  bury(*a, "one");
  bury(*a, "two");
  outcome_of(*a, "purge", "id", "one");
  EXPECT_EQ(a->purged(), Strings{"one"});
  EXPECT_EQ(a->purged(), Strings{});
  outcome_of(*a, "purge", "id", "two");
  EXPECT_EQ(a->purged(), Strings{"two"});
  EXPECT_EQ(b->purged(), (Strings{"one", "two"}));
  EXPECT_EQ(make_worker("later")->purged(), (Strings{"one", "two"}));
}

TEST_F(RedisPurge, AKeyThatBelongsToAnotherJobStays) {
  const auto worker = make_worker("a");
  bury(*worker, "book", R"(,"idempotency_key":"order-7")");
  admin.command({"SET", "tts:idem:order-7", "another"}); // the first key expired, and was used again
  outcome_of(*worker, "purge", "id", "book");
  EXPECT_EQ(admin.command({"GET", "tts:idem:order-7"}).text, "another");
}

TEST_F(RedisPurge, StatesOfJobsAreToldInOrder) {
  const auto worker = make_worker("a");
  bury(*worker, "dead");
  add_job("normal", "open");
  worker->intake();
  EXPECT_EQ(worker->states(Strings{"open", "nobody", "dead"}), (Strings{"queued", "", "dead"}));
  EXPECT_EQ(worker->states(Strings{}), Strings{});
}

// --- Drain and the registry of workers ----------------------------------------------------------------------------

TEST_F(RedisDrain, DrainedWorkerGetsNothingMoreAndFinishesWhatItHas) {
  const auto worker = make_worker("a");
  const auto other = make_worker("b");
  EXPECT_EQ(worker->announce("{}"), WorkerOrder::work);
  other->announce("{}");
  add_job("normal", "one");
  add_job("normal", "two");
  const auto claimed = worker->claim();
  EXPECT_EQ(outcome_of(*other, "drain", "worker", "a"), "draining");
  EXPECT_TRUE(has_event("a", "control", "drain: draining"));
  EXPECT_EQ(worker->announce("{}"), WorkerOrder::drain);
  EXPECT_EQ(worker->announce("{}"), WorkerOrder::drain) << "until it retires";
  EXPECT_FALSE(worker->claim());
  EXPECT_EQ(other->announce("{}"), WorkerOrder::work);
  EXPECT_EQ(worker->heartbeat(claimed->lease, {}), LeaseState::held);
  EXPECT_EQ(worker->complete(claimed->lease, "{}"), LeaseState::held);
  worker->retire();
  worker->retire(); // its reply was lost
  EXPECT_TRUE(admin.command({"GET", "tts:drain:a"}).is_nil());
  EXPECT_EQ(members("workers"), Strings{"b"});
  EXPECT_EQ(other->claim()->job.id, "two");
}

TEST_F(RedisDrain, WithoutANameEveryLivingWorkerIsDrainedAndNoneThatStartsLater) {
  const auto a = make_worker("a");
  const auto b = make_worker("b");
  EXPECT_EQ(outcome_of(*a, "drain"), "no worker is alive");
  a->announce("{}");
  b->announce("{}");
  EXPECT_EQ(outcome_of(*a, "drain"), "draining");
  EXPECT_EQ(make_worker("late")->announce("{}"), WorkerOrder::work);
  EXPECT_EQ(a->announce("{}"), WorkerOrder::drain);
  EXPECT_EQ(b->announce("{}"), WorkerOrder::drain);
}

TEST_F(RedisDrain, AWorkerThatIsNotThereCannotBeDrainedAndAnOrderToADeadOneExpires) {
  const auto worker = make_worker("a");
  EXPECT_EQ(outcome_of(*worker, "drain", "worker", "nobody"), "no such worker");
  EXPECT_TRUE(admin.command({"GET", "tts:drain:nobody"}).is_nil());
  worker->announce("{}");
  outcome_of(*worker, "drain", "worker", "a");
  const std::int64_t ttl = admin.command({"TTL", "tts:drain:a"}).integer;
  EXPECT_TRUE(ttl > 60 && ttl <= 3600) << ttl;
}

TEST_F(RedisDrain, AClaimWhoseReplyWasLostIsStillAnswered) {
  add_job("normal", "book");
  const auto worker = make_worker("a");
  worker->intake();
  worker->announce("{}");
  const std::vector<std::string> arguments = {"a", "token", "1", "60000", "1", "60000", "60"};
  EXPECT_EQ(run_script(admin, scripts::claim, "tts:", arguments).at(0).text, "job");
  outcome_of(*worker, "drain", "worker", "a");
  EXPECT_EQ(run_script(admin, scripts::claim, "tts:", arguments).at(0).text, "job");
  const std::vector<std::string> fresh = {"a", "another", "1", "60000", "1", "60000", "60"};
  EXPECT_EQ(run_script(admin, scripts::claim, "tts:", fresh).at(0).text, "drain");
}

TEST_F(RedisDrain, RegistryListsTheLivingAndForgetsTheSilent) {
  const auto a = make_worker("a");
  const auto b = make_worker("b");
  a->announce(R"({"host":"h"})");
  b->announce("{}");
  EXPECT_EQ(members("workers"), (Strings{"a", "b"}));
  const std::int64_t now = std::stoll(admin.command({"TIME"}).at(0).text);
  admin.command({"ZADD", "tts:workers", std::to_string(1000 * (now - 59)), "b"});
  a->announce("{}");
  EXPECT_EQ(members("workers"), (Strings{"b", "a"})) << "59 s may be a network that stumbled";
  admin.command({"ZADD", "tts:workers", std::to_string(1000 * (now - 61)), "b"});
  a->announce("{}");
  EXPECT_EQ(members("workers"), Strings{"a"});
}

// --- Lists and retention ------------------------------------------------------------------------------------------

TEST_F(RedisListing, EveryRecordIsInTheListWithItsTimeOfCreation) {
  const auto worker = make_worker("a");
  for (const char* id : {"c", "a", "b"})
    add_job("normal", id);
  const std::string malformed = add("normal", "{"); // dead at once, and in the list all the same
  add_job("high", "a");                             // a duplicate makes no record
  worker->intake();
  const auto listed = members("jobs");
  EXPECT_EQ(std::set<std::string>(listed.begin(), listed.end()), (std::set<std::string>{"a", "b", "c", malformed}));
  for (const std::string& id : listed)
    EXPECT_EQ(admin.command({"ZSCORE", "tts:jobs", id}).text, field(id, "created_at")) << id;
}

TEST_F(RedisListing, ExpiredRecordsLeaveTheListAndOthersStay) {
  RedisQueueSettings hasty = settings("a");
  hasty.ended_retention = seconds(1);
  RedisQueue worker(hasty);
  add_job("normal", "book");
  add_job("normal", "dead");
  add_job("normal", "open");
  worker.intake();
  worker.complete(worker.claim()->lease, "{}");
  worker.fail(worker.claim()->lease, "x", FailureKind::permanent);
  EXPECT_EQ(members("jobs").size(), 3u);
  EXPECT_TRUE(eventually([&] {
    worker.promote();
    return members("jobs").size() == 2;
  }));
  EXPECT_EQ(state("book"), "");
  EXPECT_EQ(members("ended"), Strings{});
  EXPECT_EQ(state("dead"), "dead");
  EXPECT_EQ(state("open"), "queued");
}

TEST_F(RedisListing, AJobOfTheSameNameAfterTheFirstExpiredStays) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  worker->complete(worker->claim()->lease, "{}");
  admin.command({"DEL", "tts:job:book"}); // as if it had expired
  admin.command({"ZADD", "tts:ended", "0", "book"});
  add_job("normal", "book");
  worker->intake();
  worker->promote();
  EXPECT_EQ(members("jobs"), Strings{"book"});
  EXPECT_EQ(members("ended"), Strings{});
}

TEST_F(RedisRetention, RecordsAndIdempotencyKeysLiveAsLongAsConfigured) {
  RedisQueueSettings short_lived = settings("a");
  short_lived.ended_retention = seconds(500);
  short_lived.idempotency_retention = seconds(200);
  RedisQueue worker(short_lived);
  for (const char* id : {"done", "cancelled"})
    add_job("normal", id, std::string(R"(,"idempotency_key":")") + id + "\"");
  worker.intake();
  outcome_of(worker, "cancel", "id", "cancelled");
  worker.complete(worker.claim()->lease, "{}");
  for (const std::string id : {"done", "cancelled"}) {
    EXPECT_EQ(state(id), id);
    const std::int64_t ttl = admin.command({"TTL", "tts:job:" + id}).integer;
    EXPECT_TRUE(ttl > 400 && ttl <= 500) << ttl;
    const std::int64_t idem = admin.command({"TTL", "tts:idem:" + id}).integer;
    EXPECT_TRUE(idem > 100 && idem <= 200) << idem;
  }
}

TEST_F(RedisRetention, ADuplicateDoesNotDisturbAFirstThatWaits) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  worker->fail(worker->claim()->lease, "disk full", FailureKind::transient);
  add_job("high", "book");
  const auto reports = worker->intake();
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].state, "duplicate");
  EXPECT_TRUE(eventually([&] { return worker->promote() == 1; })) << "its retry was forgotten";
  EXPECT_EQ(worker->claim()->job.id, "book");
}

// --- Devices that fail --------------------------------------------------------------------------------------------

TEST_F(RedisCrash, InCompanyItCostsNoAttemptAndTheJobRunsAloneFromThenOn) {
  const auto worker = make_worker("a");
  const auto other = make_worker("b");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  EXPECT_EQ(worker->fail(claimed->lease, "CUDA error 700", FailureKind::crash), FailureOutcome::retry);
  EXPECT_EQ(worker->fail(claimed->lease, "CUDA error 700", FailureKind::crash), FailureOutcome::retry); // reply lost
  EXPECT_EQ(state("book"), "queued");
  EXPECT_EQ(field("book", "attempts"), "0");
  EXPECT_EQ(field("book", "error"), "CUDA error 700");
  EXPECT_EQ(holder("normal"), "suspect");
  EXPECT_TRUE(has_event("book", "queued", "suspect: CUDA error 700"));
  const auto again = other->claim();
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->lease.suspect);
  EXPECT_EQ(worker->fail(claimed->lease, "CUDA error 700", FailureKind::crash), FailureOutcome::lost);
}

TEST_F(RedisCrash, AloneItCostsAttemptsUntilTheJobIsBuriedWithTheReason) {
  const auto worker = make_worker("a");
  add_job("normal", "poison", R"(,"max_attempts":2)");
  const auto crash = [&] { return worker->fail(worker->claim()->lease, "CUDA error 700", FailureKind::crash); };
  EXPECT_EQ(crash(), FailureOutcome::retry);
  EXPECT_EQ(field("poison", "attempts"), "0");
  EXPECT_EQ(crash(), FailureOutcome::retry);
  EXPECT_EQ(field("poison", "attempts"), "1");
  const auto last = worker->claim();
  EXPECT_EQ(worker->fail(last->lease, "CUDA error 700", FailureKind::crash), FailureOutcome::dead);
  EXPECT_EQ(worker->fail(last->lease, "CUDA error 700", FailureKind::crash), FailureOutcome::dead); // reply lost
  EXPECT_EQ(field("poison", "error"), "CUDA error 700 while it ran alone; attempts: 2 of 2; last worker: a");
  EXPECT_EQ(length("dead"), 1);
  EXPECT_FALSE(worker->claim());
}

TEST_F(RedisCrash, ACancelledJobEndsAsCancelled) {
  const auto worker = make_worker("a");
  add_job("normal", "book");
  const auto claimed = worker->claim();
  outcome_of(*worker, "cancel", "id", "book");
  EXPECT_EQ(worker->fail(claimed->lease, "CUDA error 700", FailureKind::crash), FailureOutcome::cancelled);
  EXPECT_EQ(state("book"), "cancelled");
}

} // namespace
} // namespace audiobookd::jobs
