// Waiting for the queue and for other things at the same time.
#include "daemon/queue_watch.h"
#include "tests/daemon/fakes.h"

#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

using namespace std::chrono_literals;

class QueueWatchTest : public ::testing::Test {
protected:
  void add(const std::string& id) {
    jobs::Job job;
    job.id = id;
    queue_.add(job);
  }

  void wait_told(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return told_ >= count; });
  }

  testing::FakeQueue queue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int told_ = 0; // protected by mutex_
  QueueWatch watch_{queue_, 1ms, [this] {
                      const std::lock_guard lock(mutex_);
                      ++told_;
                      changed_.notify_all();
                    }};
};

TEST_F(QueueWatchTest, TellsOfNewsOnceForEveryLook) {
  add("before");
  EXPECT_FALSE(watch_.has_news()) << "nobody looked";
  watch_.look();
  wait_told(1);
  EXPECT_TRUE(watch_.has_news());
  add("unseen");
  watch_.look();
  wait_told(2);
  watch_.look();
  EXPECT_FALSE(watch_.has_news());
  add("while");
  wait_told(3);
  EXPECT_TRUE(watch_.has_news());
}

TEST_F(QueueWatchTest, AQueueThatIsAwayIsNoNewsAndIsLookedAtAgain) {
  queue_.set_unavailable(true);
  watch_.look();
  queue_.wait_refused();
  EXPECT_FALSE(watch_.has_news());
  queue_.set_unavailable(false);
  wait_told(1);
  EXPECT_TRUE(watch_.has_news());
}

TEST_F(QueueWatchTest, EndsWhileItLooks) {
  QueueWatch watch(queue_, 1ms, [] {});
  watch.look();
}

} // namespace
} // namespace audiobookd::daemon
