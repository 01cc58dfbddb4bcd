// Counts of a model small enough to count by hand: one layer of one head of width 2, hidden size 2, no MLP but one of
// width 1, a vocabulary of 3. A layer has 4·2·2 + 3·2·1 = 22 weights, the head 6; a position keeps 4 values.
#include "bench/decode_work.h"

#include <gtest/gtest.h>

namespace audiobookd::bench {
namespace {

engine::chatterbox::T3Config hand_sized() {
  engine::chatterbox::T3Config config;
  config.hidden_size = 2;
  config.num_layers = 1;
  config.num_heads = 1;
  config.head_dim = 2;
  config.intermediate_size = 1;
  config.speech_vocab_size = 3;
  return config;
}

constexpr int element_bytes = 2;
constexpr RooflineLimits one_each{1, 1};

DecodeWork work_of(const std::vector<DecodeRow>& rows, std::int64_t begin, std::int64_t end,
                   RooflineLimits limits = one_each) {
  return decode_work(hand_sized(), {element_bytes, element_bytes}, rows, begin, end, limits);
}

TEST(DecodeWork, CountsTheCacheThatEachStepReads) {
  // 3 tokens: one from the prompt, two from steps that attend to 5 + 1 and 5 + 2 positions.
  const DecodeWork work = work_of({{.prompt = 5, .shared = 0, .num_tokens = 3, .entered = 0}}, 0, 10);
  EXPECT_DOUBLE_EQ(work.own_kv_bytes, (6 + 7) * 4 * element_bytes);
  EXPECT_DOUBLE_EQ(work.attention_flop, (6 + 7) * 4 * 2);
  EXPECT_DOUBLE_EQ(work.gemm_flop, 2 * 2 * (22 + 6));
  EXPECT_DOUBLE_EQ(work.weight_bytes, 10 * (22 + 6) * element_bytes); // also in steps where no row draws
}

TEST(DecodeWork, CacheAndWeightsMayDifferInWidth) {
  const std::vector<DecodeRow> rows{{.prompt = 5, .shared = 0, .num_tokens = 2, .entered = 0}};
  const DecodeWork work = decode_work(hand_sized(), {.weight = 2, .cache = 1.5}, rows, 0, 1, one_each);
  EXPECT_DOUBLE_EQ(work.own_kv_bytes, 6 * 4 * 1.5);
  EXPECT_DOUBLE_EQ(work.weight_bytes, (22 + 6) * 2);
}

TEST(DecodeWork, CountsSharedPositionsOnceAStepAndForEveryRow) {
  const DecodeRow row{.prompt = 5, .shared = 4, .num_tokens = 2, .entered = 0};
  const DecodeRow shorter{.prompt = 5, .shared = 2, .num_tokens = 2, .entered = 0};
  const DecodeWork work = work_of({row, shorter}, 0, 1);
  EXPECT_DOUBLE_EQ(work.own_kv_bytes, (2 + 4) * 4 * element_bytes);
  EXPECT_DOUBLE_EQ(work.shared_kv_bytes, (4 + 2) * 4 * element_bytes);
  EXPECT_DOUBLE_EQ(work.shared_kv_once_bytes, 4 * 4 * element_bytes);
}

TEST(DecodeWork, CountsOfAPromptWhatIsNotShared) {
  const DecodeWork work = work_of({{.prompt = 5, .shared = 4, .num_tokens = 1, .entered = 3}}, 3, 4);
  EXPECT_DOUBLE_EQ(work.prompt_gemm_flop, 2 * (22 * 1 + 6));
  EXPECT_DOUBLE_EQ(work.prompt_attention_flop, 5 * 4 * 2); // the fifth position attends to five
}

TEST(DecodeWork, LooksAtNothingOutsideItsSteps) {
  const std::vector<DecodeRow> rows = {{.prompt = 5, .shared = 0, .num_tokens = 100, .entered = 10}};
  EXPECT_EQ(work_of(rows, 0, 10).gemm_flop, 0);
  EXPECT_EQ(work_of(rows, 0, 10).prompt_gemm_flop, 0);
  EXPECT_EQ(work_of(rows, 11, 20).prompt_gemm_flop, 0);
  EXPECT_DOUBLE_EQ(work_of(rows, 12, 13).own_kv_bytes, (5 + 3) * 4 * element_bytes);
  EXPECT_EQ(work_of(rows, 200, 210).gemm_flop, 0);
}

TEST(DecodeWork, BoundsGemmsByTheSlowerOfArithmeticAndReading) {
  constexpr double fast = 1e30;
  const double gemm_flop = 2 * (22 + 6);
  const double weight_bytes = (22 + 6) * element_bytes;
  const double kv_bytes = 6 * 4 * element_bytes;
  const std::vector<DecodeRow> row = {{.prompt = 5, .shared = 0, .num_tokens = 2, .entered = 0}};
  const double prompt_flop = 2 * (22 * 5 + 6) + 15 * 4 * 2;
  EXPECT_DOUBLE_EQ(work_of(row, 0, 1, {fast, 1}).roofline_seconds, gemm_flop + prompt_flop);
  EXPECT_DOUBLE_EQ(work_of(row, 0, 1, {1, fast}).roofline_seconds, weight_bytes + kv_bytes);
}

} // namespace
} // namespace audiobookd::bench
