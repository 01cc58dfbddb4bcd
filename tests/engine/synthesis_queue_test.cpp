// Which utterances are synthesised together, and when, and when decoding has to pause.
#include "engine/synthesis_queue.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

using engine::SynthesisQueue;
using engine::SynthesisTask;
using engine::UtteranceId;

constexpr engine::DecodeState busy{.urgent = false, .thin = false};
constexpr engine::DecodeState thin{.urgent = false, .thin = true};
constexpr engine::DecodeState with_urgent{.urgent = true, .thin = false};
constexpr std::size_t many = 100;

SynthesisTask task(UtteranceId id, std::int64_t frames, bool urgent = false, int steps = 10) {
  SynthesisTask result;
  result.id = id;
  result.order = id;
  result.cfm_steps = steps;
  result.urgent = urgent;
  result.num_frames = frames;
  return result;
}

std::vector<UtteranceId> ids(const std::vector<SynthesisTask>& tasks) {
  std::vector<UtteranceId> list;
  for (const SynthesisTask& t : tasks) {
    list.push_back(t.id);
  }
  return list;
}

using Ids = std::vector<UtteranceId>;

TEST(SynthesisQueue, GoesInTheOrderOfHandingOutNotInThatOfDecoding) {
  SynthesisQueue queue({.tasks = 3, .frames = 1000, .most_waiting = many});
  queue.set_decode_state(busy);
  for (const UtteranceId id : {5u, 2u, 4u, 1u, 3u}) {
    queue.push(task(id, 100));
  }
  EXPECT_EQ(ids(queue.take()), (Ids{1, 2, 3}));
  EXPECT_TRUE(queue.take_now().empty()) << "two tasks are no full batch while decoding goes on";
  queue.set_decode_state(thin);
  EXPECT_EQ(ids(queue.take_now()), (Ids{4, 5}));
  EXPECT_TRUE(queue.computing());
  queue.done(3);
  EXPECT_FALSE(queue.idle());
  queue.done(2);
  EXPECT_TRUE(queue.idle());
}

TEST(SynthesisQueue, ABatchHasNoMoreFramesThanOnePassAndLeavesNoHole) {
  SynthesisQueue queue({.tasks = 64, .frames = 250, .most_waiting = many});
  queue.set_decode_state(busy);
  queue.push(task(1, 100));
  queue.push(task(2, 120));
  EXPECT_TRUE(queue.take_now().empty()) << "220 of 250 frames";
  queue.push(task(3, 80));
  EXPECT_EQ(ids(queue.take_now()), (Ids{1, 2}));
  queue.push(task(4, 900));
  queue.push(task(5, 60));
  EXPECT_EQ(ids(queue.take_now()), (Ids{3, 5})) << "4 does not fit";
  EXPECT_EQ(ids(queue.take_now()), (Ids{4})) << "one that is longer than a pass goes alone";
}

TEST(SynthesisQueue, StepCountsAreNotMixed) {
  SynthesisQueue queue({.tasks = 2, .frames = 1000, .most_waiting = many});
  queue.set_decode_state(thin);
  queue.push(task(1, 100, false, 10));
  queue.push(task(2, 100, false, 4));
  queue.push(task(3, 300, false, 10));
  EXPECT_EQ(ids(queue.take()), (Ids{1, 3}));
  EXPECT_EQ(ids(queue.take()), (Ids{2}));
}

TEST(SynthesisQueue, UrgentTasksGoFirstAtOnceAndAlone) {
  SynthesisQueue queue({.tasks = 8, .frames = 1000, .most_waiting = many});
  queue.set_decode_state(busy);
  queue.push(task(1, 100));
  EXPECT_TRUE(queue.take_now().empty()) << "no full batch";
  queue.push(task(2, 40, true));
  queue.push(task(3, 100));
  queue.push(task(4, 50, true));
  EXPECT_EQ(ids(queue.take_now()), (Ids{2, 4}));
  EXPECT_TRUE(queue.take_now().empty());
}

TEST(SynthesisQueue, WhileUrgentWorkIsDecodedOthersGoInSmallBatches) {
  SynthesisQueue queue({.tasks = 8, .frames = 1000, .urgent_seconds = 0.15, .most_waiting = many});
  queue.set_decode_state(with_urgent);
  for (UtteranceId id = 1; id <= 8; ++id) {
    queue.push(task(id, 100));
  }
  EXPECT_EQ(queue.take_now().size(), 1u) << "the speed is not known yet";
  queue.set_speed(1000, 0.5); // 300 frames in 0.15 s
  EXPECT_EQ(queue.take_now().size(), 3u);
  queue.set_decode_state(thin);
  EXPECT_EQ(queue.take_now().size(), 4u);
}

TEST(SynthesisQueue, DecodingPausesWhenMuchWaitsUntilLittleDoes) {
  SynthesisQueue queue({.tasks = 4, .frames = 1000, .most_waiting = 6, .least_waiting = 1});
  queue.set_decode_state(busy);
  for (UtteranceId id = 1; id <= 6; ++id) {
    EXPECT_TRUE(queue.decode_may_run()) << id;
    queue.push(task(id, 100));
  }
  EXPECT_FALSE(queue.decode_may_run());
  queue.set_decode_state(with_urgent);
  EXPECT_TRUE(queue.decode_may_run()) << "urgent utterances wait for nobody";
  queue.set_decode_state(busy);
  EXPECT_EQ(ids(queue.take_now()), (Ids{1, 2, 3, 4}));
  EXPECT_FALSE(queue.decode_may_run());
  EXPECT_EQ(ids(queue.take_now()), (Ids{5, 6})) << "no more will come during the pause";
  EXPECT_TRUE(queue.decode_may_run());
  EXPECT_FALSE(queue.remove(6)) << "it was taken";
}

TEST(SynthesisQueue, RemovingWhatWaitsMayEndAPause) {
  SynthesisQueue queue({.tasks = 4, .frames = 1000, .most_waiting = 2, .least_waiting = 1});
  queue.push(task(1, 100));
  queue.push(task(2, 100));
  EXPECT_FALSE(queue.decode_may_run());
  EXPECT_TRUE(queue.remove(1));
  EXPECT_TRUE(queue.decode_may_run());
}

TEST(SynthesisQueue, CloseEndsTake) {
  SynthesisQueue queue({.tasks = 2, .frames = 1000, .most_waiting = many});
  queue.push(task(1, 100));
  queue.close();
  EXPECT_TRUE(queue.take().empty());
}

} // namespace
} // namespace audiobookd::tests
