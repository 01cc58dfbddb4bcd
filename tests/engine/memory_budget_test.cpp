// The arithmetic of the memory budget.
#include "engine/memory_budget.h"

#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

using engine::DeviceMemory;
using engine::WorkingMemory;

constexpr DeviceMemory busy_gpu{.total = 1000, .used = 300, .reserved = 120, .allocated = 100}; // 180 are not ours

TEST(MemoryBudget, IsTheFractionLessWhatOthersUse) {
  EXPECT_EQ(engine::tensor_budget(0.5, busy_gpu), 500 - 180);
  EXPECT_EQ(engine::tensor_budget(1, busy_gpu), 1000 - 180);
}

TEST(MemoryBudget, IsNothingWhereOthersUseMoreThanTheFraction) { EXPECT_EQ(engine::tensor_budget(0.1, busy_gpu), 0); }

TEST(MemoryBudget, TheCacheGetsWhatWeightsAndWorkingMemoryLeave) {
  const WorkingMemory working{.decode = 40, .synthesis = 80};
  EXPECT_EQ(engine::spare_bytes(working), 15);
  // 1000 - 200 - 120 - 15 = 665
  EXPECT_EQ(engine::pages_that_fit(1000, 200, working, 7, 1, 1000), 95);
  EXPECT_EQ(engine::pages_that_fit(1000, 200, working, 7, 1, 50), 50) << "more than the batch can use";
  EXPECT_EQ(engine::pages_that_fit(1000, 200, working, 7, 96, 1000), 96) << "the spare gives way to one utterance";
  EXPECT_EQ(engine::pages_that_fit(100, 200, working, 7, 3, 1000), 3);
}

TEST(MemoryBudget, PagesOfGigabytesDoNotOverflow) {
  constexpr std::int64_t gb = 1'000'000'000;
  EXPECT_EQ(
      engine::pages_that_fit(288 * gb, 4 * gb, {.decode = gb, .synthesis = 3 * gb}, 4 * 1024 * 1024, 200, 1 << 20),
      66637); // (288 - 4 - 4 - 0.5) GB
}

TEST(MemoryBudget, SynthesisMayTakeHalfButLeavesRoomForAnUtterance) {
  EXPECT_EQ(engine::synthesis_share(1000, 200, 100, 50), 350);
  EXPECT_EQ(engine::synthesis_share(1000, 200, 100, 600), 100);
  EXPECT_EQ(engine::synthesis_share(1000, 200, 100, 900), 0);
  EXPECT_EQ(engine::synthesis_share(100, 200, 100, 50), 0);
}

TEST(MemoryBudget, ABudgetThatIsTooSmallIsToldWithBytes) {
  const std::string why = engine::too_small(0.25, busy_gpu, 400, "the model");
  EXPECT_NE(why.find("the model needs at least 400 bytes"), std::string::npos) << why;
  EXPECT_NE(why.find("70 are available"), std::string::npos) << why;
  EXPECT_NE(why.find("gpu_memory_fraction 0.25 of 1000, less 180"), std::string::npos) << why;
}

} // namespace
} // namespace audiobookd::tests
