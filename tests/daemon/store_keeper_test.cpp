// What the chunk store is told of jobs that ended or were purged.
#include "daemon/store_keeper.h"
#include "tests/daemon/fakes.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

class StoreKeeperTest : public ::testing::Test {
protected:
  /// A job in this state; empty: the queue knows none. The store has chunks for it.
  void add(const std::string& id, const std::string& state) {
    store_.claim(id, 1, keys_);
    if (!state.empty()) {
      jobs::Job job;
      job.id = id;
      queue_.add(job);
      queue_.change(id, [&](auto& record) { record.state = state; });
    }
  }

  void keep_up(StoreKeeper& keeper, const Strings& open = {}) {
    keeper.keep_up([&](const std::string& id) { return std::ranges::find(open, id) != open.end(); });
  }

  testing::TemporaryFolder folder_;
  const Strings keys_ = {std::string(32, 'a')};
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = 1u << 20}};
  testing::FakeQueue queue_;
};

TEST_F(StoreKeeperTest, ClaimsOfJobsThatAreOverEndAndNoOthers) {
  for (const char* state : {"queued", "running", "committing", "retry_wait", "done", "dead", "cancelled"}) {
    add(std::string("is-") + state, state);
  }
  add("is-unknown", "");
  add("is-mine", "done"); // and about to be closed here
  StoreKeeper keeper(queue_, store_, 1h);
  keep_up(keeper, {"is-mine"});
  EXPECT_EQ(store_.open_jobs(), (Strings{"is-committing", "is-mine", "is-queued", "is-retry_wait", "is-running"}));
}

TEST_F(StoreKeeperTest, ClaimsAreReviewedAtTheStartAndOncePerPeriod) {
  StoreKeeper rare(queue_, store_, 1h);
  keep_up(rare);
  add("job", "done");
  keep_up(rare);
  EXPECT_EQ(store_.open_jobs(), Strings{"job"});
  StoreKeeper often(queue_, store_, 0ms);
  keep_up(often);
  EXPECT_EQ(store_.open_jobs(), Strings{});
  add("job", "");
  keep_up(often);
  EXPECT_EQ(store_.open_jobs(), Strings{});
}

TEST_F(StoreKeeperTest, PurgedJobsAreForgottenAtOnce) {
  StoreKeeper keeper(queue_, store_, 1h);
  keep_up(keeper);
  add("job", "done");
  add("other", "done");
  queue_.purge("job");
  keep_up(keeper);
  EXPECT_EQ(store_.open_jobs(), Strings{"other"});
}

TEST_F(StoreKeeperTest, TheAudioOfAPurgedJobGoesUnlessAnotherUsesItToo) {
  const std::string own(32, 'b');
  const std::string shared(32, 'c');
  for (const std::string& key : {own, shared}) {
    store_.put_audio(key, 24'000, std::vector<float>(10), "{}");
  }
  store_.claim("job", 1, Strings{own, shared});
  store_.claim("other", 1, Strings{shared});
  store_.end_claim("job"); // it is done
  queue_.purge("job");
  jobs::Job other;
  other.id = "other";
  queue_.add(other);
  StoreKeeper keeper(queue_, store_, 1h);
  keep_up(keeper);
  EXPECT_FALSE(store_.contains_audio(own));
  EXPECT_TRUE(store_.contains_audio(shared));
}

TEST_F(StoreKeeperTest, APurgedJobThatWasAddedAnewKeepsItsChunks) {
  StoreKeeper keeper(queue_, store_, 1h);
  keep_up(keeper);
  add("job", "done");
  queue_.purge("job");
  add("job", "running"); // by another worker that shares the folder
  keep_up(keeper);
  EXPECT_EQ(store_.open_jobs(), Strings{"job"});
}

TEST_F(StoreKeeperTest, APurgedJobThatIsStillClosingHereIsForgottenLater) {
  StoreKeeper keeper(queue_, store_, 0ms);
  add("job", "cancelled");
  queue_.purge("job");
  keep_up(keeper, {"job"});
  EXPECT_EQ(store_.open_jobs(), Strings{"job"});
  keep_up(keeper);
  EXPECT_EQ(store_.open_jobs(), Strings{});
}

TEST_F(StoreKeeperTest, AQueueThatIsDownIsTheCallersMatterAndNothingIsForgottenMeanwhile) {
  StoreKeeper keeper(queue_, store_, 1h);
  add("job", "done");
  queue_.set_unavailable(true);
  EXPECT_THROW(keep_up(keeper), jobs::QueueUnavailable);
  EXPECT_EQ(store_.open_jobs(), Strings{"job"});
  queue_.set_unavailable(false);
  keep_up(keeper);
  EXPECT_EQ(store_.open_jobs(), Strings{});
}

} // namespace
} // namespace audiobookd::daemon
