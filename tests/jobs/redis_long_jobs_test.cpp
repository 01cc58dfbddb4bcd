// Workers that have room for a short job only, and jobs that turn out to be long.
#include "jobs/redis_queue.h"
#include "tests/jobs/redis_fixture.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

class RedisLongJobs : public RedisQueueFixture {
protected:
  std::unique_ptr<RedisQueue> worker_ = make_worker("w");

  static std::string id_of(const std::optional<ClaimedJob>& claimed) { return claimed ? claimed->job.id : ""; }
};

TEST_F(RedisLongJobs, AJobIsKnownToBeLongOnceSomebodyHasLookedAtIt) {
  add_job("normal", "novel");
  add_job("normal", "story");
  const auto looked_at = worker_->claim_short("low");
  ASSERT_EQ(id_of(looked_at), "novel") << "nobody knows yet";
  EXPECT_EQ(worker_->release_as_long(looked_at->lease), LeaseState::held);
  EXPECT_EQ(worker_->release_as_long(looked_at->lease), LeaseState::held) << "the reply may have been lost";
  EXPECT_EQ(field("novel", "long"), "1");
  EXPECT_EQ(state("novel"), "queued");
  EXPECT_EQ(field("novel", "attempts"), "0");
  EXPECT_EQ(id_of(worker_->claim_short("low")), "story");
  EXPECT_FALSE(worker_->claim_short("low"));
  EXPECT_FALSE(make_worker("other")->claim_short("low")) << "no other worker has to look";
}

TEST_F(RedisLongJobs, LongJobsGoBeforeNewOnesToAWorkerWithRoomAndCountAsOpenNotAsRunning) {
  for (const char* id : {"novel-1", "novel-2", "story"}) {
    add_job("normal", id);
  }
  for (int i = 0; i < 2; ++i) {
    const auto claimed = worker_->claim_short("low");
    ASSERT_TRUE(claimed);
    worker_->release_as_long(claimed->lease);
  }
  const auto story = worker_->claim_short("low");
  ASSERT_EQ(id_of(story), "story");
  const QueueCounts counts = worker_->counts();
  EXPECT_EQ(counts.queues[1].open, 3u);
  EXPECT_EQ(counts.queues[1].running, 1u);
  add_job("normal", "new");
  EXPECT_EQ(id_of(worker_->claim()), "novel-1");
  EXPECT_EQ(id_of(worker_->claim()), "novel-2");
  EXPECT_EQ(id_of(worker_->claim()), "new");
}

TEST_F(RedisLongJobs, HigherQueuesStillGoFirst) {
  add_job("low", "novel");
  const auto novel = worker_->claim_short("low");
  ASSERT_TRUE(novel);
  worker_->release_as_long(novel->lease);
  add_job("normal", "other");
  EXPECT_EQ(id_of(worker_->claim()), "other");
  EXPECT_EQ(id_of(worker_->claim("normal")), "");
  EXPECT_EQ(id_of(worker_->claim()), "novel");
}

TEST_F(RedisLongJobs, ALongJobGoesOnWaitingAndWhenItWaitedTooLongGoesBeforeAllToWhoeverHasRoom) {
  add_job("low", "novel");
  const auto looked_at = worker_->claim_short("low");
  ASSERT_TRUE(looked_at);
  admin.command({"HSET", "tts:job:novel", "ready_at", "1000"}); // since 1970
  worker_->release_as_long(looked_at->lease);
  EXPECT_EQ(field("novel", "ready_at"), "1000");
  add_job("high", "urgent");
  add_job("high", "more-urgent");
  RedisQueueSettings fair = settings("fair");
  fair.max_wait = std::chrono::hours(1);
  RedisQueue fair_worker(fair);
  EXPECT_EQ(id_of(fair_worker.claim_short("low")), "urgent");
  const auto overdue = fair_worker.claim();
  ASSERT_EQ(id_of(overdue), "novel");
  EXPECT_TRUE(overdue->overdue);
}

TEST_F(RedisLongJobs, CancelledWhileItWasLookedAtItIsNotKept) {
  add_job("normal", "novel");
  const auto looked_at = worker_->claim_short("low");
  ASSERT_TRUE(looked_at);
  command("cancel", "id", "novel");
  worker_->poll_control();
  EXPECT_EQ(worker_->release_as_long(looked_at->lease), LeaseState::cancelled);
  EXPECT_EQ(state("novel"), "cancelled");
}

} // namespace
} // namespace audiobookd::jobs
