// Tasks run, beside each other, and tell what they return or throw.
#include "storage/worker_pool.h"

#include <gtest/gtest.h>
#include <latch>
#include <optional>
#include <stdexcept>

namespace audiobookd::storage {
namespace {

TEST(WorkerPool, GivesBackWhatATaskReturnsAndThrows) {
  WorkerPool pool(2);
  EXPECT_EQ(pool.submit([] { return 42; }).get(), 42);
  auto failed = pool.submit([]() -> int { throw std::runtime_error("no luck"); });
  EXPECT_THROW(failed.get(), std::runtime_error);
  EXPECT_EQ(pool.submit([] { return 43; }).get(), 43) << "a task that threw takes no thread with it";
}

TEST(WorkerPool, RunsAsManyTasksAtOnceAsItHasThreads) {
  WorkerPool pool(3);
  std::latch together(3);
  std::vector<std::future<void>> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(pool.submit([&together] { together.arrive_and_wait(); }));
  }
  for (auto& task : tasks) {
    task.get();
  }
}

TEST(WorkerPool, FinishesWhatRunsAndDropsWhatWaitsWhenItIsDestroyed) {
  std::optional<WorkerPool> pool(std::in_place, 1);
  std::latch begun(1);
  std::latch may_end(1);
  auto running = pool->submit([&] {
    begun.count_down();
    may_end.wait();
    return 1;
  });
  auto waiting = pool->submit([] { return 2; });
  begun.wait();
  std::jthread destroyer([&pool] { pool.reset(); });
  may_end.count_down();
  EXPECT_EQ(running.get(), 1);
  destroyer.join();
  try { // which of the two depends on whether the destructor was faster
    EXPECT_EQ(waiting.get(), 2);
  } catch (const std::future_error& error) {
    EXPECT_EQ(error.code(), std::future_errc::broken_promise);
  }
}

TEST(WorkerPool, NeedsAThread) {
  EXPECT_THROW(WorkerPool(0), std::invalid_argument);
  EXPECT_GE(default_worker_threads(), 1);
}

} // namespace
} // namespace audiobookd::storage
