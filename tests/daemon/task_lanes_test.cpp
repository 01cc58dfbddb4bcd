// Tasks in lanes: order, bound and end.
#include "daemon/task_lanes.h"

#include <algorithm>
#include <future>
#include <gtest/gtest.h>

namespace audiobookd::daemon {
namespace {

TEST(TaskLanes, TasksOfOneLaneRunInOrderAndAllBeforeTheEnd) {
  std::vector<int> order;
  {
    TaskLanes lanes(3, 10, [] {});
    for (int i = 0; i < 100; ++i) {
      lanes.push(4, [&order, i] { order.push_back(i); });
    }
  }
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(TaskLanes, LanesRunBesideEachOther) {
  TaskLanes lanes(2, 10, [] {});
  std::promise<void> second_ran;
  lanes.push(0, [&] { second_ran.get_future().wait(); });
  lanes.push(1, [&] { second_ran.set_value(); });
  lanes.wait_idle();
}

TEST(TaskLanes, FullAtTheBoundAndWhoWaitsIsToldWhenItIsNoMore) {
  std::promise<void> let_go;
  std::promise<bool> full_afterwards;
  TaskLanes* self = nullptr;
  TaskLanes lanes(1, 1, [&] { full_afterwards.set_value(self->is_full()); });
  self = &lanes;
  EXPECT_FALSE(lanes.is_full());
  lanes.push(0, [&] { let_go.get_future().wait(); });
  EXPECT_TRUE(lanes.is_full());
  let_go.set_value();
  EXPECT_FALSE(full_afterwards.get_future().get());
}

} // namespace
} // namespace audiobookd::daemon
