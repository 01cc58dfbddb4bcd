// Draws follow the processed probabilities (chi-squared), and rows do not influence one another.
#include "engine/philox.h"
#include "engine/sampler.h"
#include "tests/engine/chi_squared.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <cmath>

namespace audiobookd::tests {
namespace {

using engine::SamplerRows;
using engine::SamplingParams;

void expect_draws_follow_probabilities() {
  at::manual_seed(9);
  constexpr int draws = 20000;
  SamplingParams params;
  params.min_p = 0.01f;
  const at::Tensor logits = (at::randn({1, 500}) * 2).to(test_device());
  const SamplerRows one = SamplerRows::from(std::vector{params}, test_device());
  const at::Tensor seen = at::zeros_like(logits, at::kBool);
  const at::Tensor processed = engine::process_logits(logits, logits, seen, one);
  const at::Tensor probs = at::softmax(processed.to(at::kDouble), -1)[0].cpu();
  at::Tensor uniforms = at::empty({draws, 1}, at::kDouble);
  const auto stream = engine::random_stream(1, {2, 3}, 0);
  for (int i = 0; i < draws; ++i) {
    uniforms.data_ptr<double>()[i] =
        engine::uniform(stream, engine::RandomPurpose::t3_draw, static_cast<unsigned>(i), 0);
  }
  const SamplerRows rows = SamplerRows::from(std::vector<SamplingParams>(draws, params), test_device());
  const at::Tensor drawn =
      engine::draw(processed.expand({draws, -1}).contiguous(), uniforms.to(test_device()), rows).cpu();
  const at::Tensor counts = at::bincount(drawn, {}, 500).to(at::kDouble);
  EXPECT_EQ(counts.masked_select(probs == 0).sum().item<double>(), 0) << "a removed token was drawn";
  EXPECT_GT(goodness_of_fit(counts, probs, draws), 1e-4);
}

TEST(Sampler, DrawsFollowTheProbabilities) { expect_draws_follow_probabilities(); }
TEST(GpuSampler, DrawsFollowTheProbabilities) { expect_draws_follow_probabilities(); }

TEST(Sampler, GoodnessOfFitRejectsAWrongDistribution) {
  const at::Tensor probs = at::full({10}, 0.1, at::kDouble);
  at::Tensor counts = at::full({10}, 1000, at::kDouble);
  EXPECT_GT(goodness_of_fit(counts, probs, 10000), 0.9);
  counts[0] = 1200;
  counts[1] = 800;
  EXPECT_LT(goodness_of_fit(counts, probs, 10000), 1e-4);
}

TEST(Sampler, ExtremeUniformsNeverDrawRemovedTokens) {
  at::Tensor processed = at::full({2, 6}, -std::numeric_limits<float>::infinity());
  processed.select(1, 2).fill_(1.0f);
  processed.select(1, 4).fill_(0.0f);
  const SamplerRows rows = SamplerRows::from(std::vector<SamplingParams>(2), at::kCPU);
  const at::Tensor drawn = engine::draw(processed, at::tensor({1e-12, 1 - 1e-12}, at::kDouble).unsqueeze(1), rows);
  EXPECT_EQ(drawn[0].item<std::int64_t>(), 2);
  EXPECT_EQ(drawn[1].item<std::int64_t>(), 4);
}

/// Guidance, penalty and min-p off, temperature 1: what is removed, top-k and top-p remove.
SamplingParams plain_params(int top_k, float top_p = 1) {
  SamplingParams params;
  params.cfg_weight = 0;
  params.repetition_penalty = 1;
  params.temperature = 1;
  params.min_p = 0;
  params.top_k = top_k;
  params.top_p = top_p;
  return params;
}

/// Which of @p logits (of one row) are left.
std::vector<std::int64_t> kept_tokens(const std::vector<float>& logits, const SamplingParams& params) {
  const at::Tensor row = at::tensor(logits).unsqueeze(0);
  const at::Tensor processed = engine::process_logits(row, row, at::zeros_like(row, at::kBool),
                                                      SamplerRows::from(std::vector{params}, at::kCPU))[0];
  const at::Tensor kept = processed.isfinite().nonzero().flatten();
  return {kept.const_data_ptr<std::int64_t>(), kept.const_data_ptr<std::int64_t>() + kept.numel()};
}

TEST(Sampler, TopKKeepsTheMostProbableAndThoseAsProbableAsTheLast) {
  using Kept = std::vector<std::int64_t>;
  const std::vector<float> logits{1, 4, 2, 5, 2, 0};
  EXPECT_EQ(kept_tokens(logits, plain_params(0)), (Kept{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(kept_tokens(logits, plain_params(1)), (Kept{3}));
  EXPECT_EQ(kept_tokens(logits, plain_params(2)), (Kept{1, 3}));
  EXPECT_EQ(kept_tokens(logits, plain_params(3)), (Kept{1, 2, 3, 4})) << "tokens 2 and 4 are third together";
  EXPECT_EQ(kept_tokens(logits, plain_params(5)), (Kept{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept_tokens(logits, plain_params(6)), (Kept{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(kept_tokens(logits, plain_params(10000)), (Kept{0, 1, 2, 3, 4, 5}));
}

TEST(Sampler, TopPCountsTheProbabilitiesThatTopKLeft) {
  using Kept = std::vector<std::int64_t>;
  const std::vector<float> logits{std::log(0.3f), std::log(0.25f), std::log(0.2f), std::log(0.15f), std::log(0.1f)};
  EXPECT_EQ(kept_tokens(logits, plain_params(0, 0.5f)), (Kept{0, 1})); // 0.55 is the first sum above a half
  EXPECT_EQ(kept_tokens(logits, plain_params(2, 0.5f)), (Kept{0}));    // 0.3 / 0.55 is
  EXPECT_EQ(kept_tokens(logits, plain_params(4, 0.5f)), (Kept{0, 1})); // 0.3 / 0.9 is not
}

TEST(Sampler, TopKAndMinPLeaveTheShorterOfTheirRuns) {
  using Kept = std::vector<std::int64_t>;
  const std::vector<float> logits{0, -1, -2, -3, -4};
  SamplingParams params = plain_params(3);
  params.min_p = 0.2f; // exp(-1) is more, exp(-2) less
  EXPECT_EQ(kept_tokens(logits, params), (Kept{0, 1}));
  params.min_p = 0.001f;
  EXPECT_EQ(kept_tokens(logits, params), (Kept{0, 1, 2}));
}

TEST(Sampler, TopKCountsAfterGuidanceAndPenalty) {
  const at::Tensor cond = at::tensor({3.0f, 2.9f, 1.0f}).unsqueeze(0);
  const at::Tensor uncond = at::tensor({3.0f, 2.0f, 1.0f}).unsqueeze(0);
  SamplingParams params = plain_params(1);
  params.cfg_weight = 1; // 3, 3.8, 1
  const auto most_probable = [&](const at::Tensor& seen) {
    const at::Tensor processed =
        engine::process_logits(cond, uncond, seen, SamplerRows::from(std::vector{params}, at::kCPU))[0];
    EXPECT_EQ(processed.isfinite().sum().item<std::int64_t>(), 1);
    return processed.argmax().item<std::int64_t>();
  };
  at::Tensor seen = at::zeros_like(cond, at::kBool);
  EXPECT_EQ(most_probable(seen), 1);
  params.repetition_penalty = 2;
  seen[0][1].fill_(true); // 3, 1.9, 1
  EXPECT_EQ(most_probable(seen), 0);
}

TEST(Sampler, RowsKeepTheirOwnParameters) {
  at::manual_seed(4);
  const at::Tensor cond = at::randn({6, 300}) * 3;
  const at::Tensor uncond = at::randn({6, 300}) * 3;
  const at::Tensor seen = at::rand({6, 300}) < 0.1;
  std::vector<SamplingParams> params(6);
  params[1].top_p = 0.8f;
  params[2].cfg_weight = 1.5f;
  params[3].temperature = 0.3f;
  params[3].repetition_penalty = 2;
  params[4].top_k = 5;
  params[5].top_k = 300;
  params[5].top_p = 0.6f;
  const at::Tensor together = engine::process_logits(cond, uncond, seen, SamplerRows::from(params, at::kCPU));
  for (std::int64_t row = 0; row < 6; ++row) {
    const SamplerRows own = SamplerRows::from(std::span(params).subspan(static_cast<std::size_t>(row), 1), at::kCPU);
    const at::Tensor alone =
        engine::process_logits(cond.narrow(0, row, 1), uncond.narrow(0, row, 1), seen.narrow(0, row, 1), own);
    EXPECT_TRUE(at::equal(alone[0], together[row])) << "row " << row;
  }
}

} // namespace
} // namespace audiobookd::tests
