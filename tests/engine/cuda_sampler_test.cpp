// The sampler on a GPU: draws follow the probabilities of process_logits(), one place does not influence another, and
// the state moves on.
#include "engine/cuda/sampler_kernel.h"
#include "engine/sampler.h"
#include "tests/engine/chi_squared.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <array>

namespace audiobookd::tests {
namespace {

using engine::SamplerRows;
using engine::SamplingParams;
using engine::cuda::PlaceState;

/// A sampler state in which place i has the parameters and the history of problem i.
/// @param seen [places, vocab] bool, or [1, vocab] for all of them.
PlaceState make_state(const std::vector<SamplingParams>& params, const at::Tensor& seen, std::int64_t vocab) {
  const auto places = static_cast<std::int64_t>(params.size());
  const auto ints = at::TensorOptions(at::kInt).device(test_device());
  PlaceState state;
  state.active = at::ones({places}, ints);
  state.drawn = at::zeros({places}, ints);
  state.max_tokens = at::full({places}, 100, ints);
  state.key = at::zeros({places, 3}, ints);
  const at::Tensor bits = at::constant_pad_nd(seen.cpu().to(at::kLong), {0, (32 - vocab % 32) % 32});
  const at::Tensor words = bits.view({seen.size(0), -1, 32}).mul(at::pow(2, at::arange(32, at::kLong))).sum(-1);
  at::Tensor values = at::zeros({places, 5}, at::kFloat);
  at::Tensor flags = at::zeros({places}, at::kInt);
  at::Tensor top_k = at::zeros({places}, at::kInt);
  for (std::int64_t i = 0; i < places; ++i) {
    const SamplingParams& p = params[static_cast<std::size_t>(i)];
    const std::array<float, 5> row{p.cfg_weight, p.repetition_penalty, p.temperature, p.min_p, p.top_p};
    std::copy(row.begin(), row.end(), values.data_ptr<float>() + 5 * i);
    flags.data_ptr<int>()[i] = p.greedy ? 1 : 0;
    top_k.data_ptr<int>()[i] = p.top_k;
  }
  state.params = values.to(test_device());
  state.flags = flags.to(test_device());
  state.top_k = top_k.to(test_device());
  state.key.select(1, 0).copy_(at::arange(places, ints)); // another stream for each place
  state.seen = words.to(at::kInt).to(test_device()).expand({places, -1}).contiguous();
  state.history = at::zeros({places, 100}, ints);
  state.tokens = at::zeros({2 * places}, ints.dtype(at::kLong));
  state.speech_positions = at::zeros({2 * places}, ints.dtype(at::kLong));
  state.positions = at::zeros({2 * places}, ints);
  return state;
}

/// @p logits with rows padded as the sampler wants them.
at::Tensor padded(const at::Tensor& logits) {
  return at::constant_pad_nd(logits, {0, (4 - logits.size(1) % 4) % 4}, 1e9).narrow(1, 0, logits.size(1));
}

at::Tensor numbers(std::int64_t count) { return at::arange(count, at::TensorOptions(at::kInt).device(test_device())); }

/// A problem, as one row of logits each, and the parameters to solve it with.
struct Problem {
  at::Tensor cond, uncond; // [vocab]
  at::Tensor seen;         // [vocab] bool
  SamplingParams params;
};

constexpr std::int64_t num_draws = 20000;

/// What @p draws independent streams draw. @return [draws] int64 on the CPU
at::Tensor draw_many(const Problem& problem, std::int64_t draws = num_draws) {
  const std::int64_t vocab = problem.cond.size(0);
  PlaceState state = make_state(std::vector<SamplingParams>(static_cast<std::size_t>(draws), problem.params),
                                problem.seen.unsqueeze(0), vocab);
  const at::Tensor zeros = at::zeros({draws}, state.active.options());
  engine::cuda::sample(padded(at::stack({problem.cond, problem.uncond})), numbers(draws), zeros, zeros + 1, state,
                       {static_cast<int>(vocab), 6561, 6562});
  return state.history.select(1, 0).to(at::kLong).cpu();
}

/// @param probs [vocab] double: 0 for removed tokens.
void expect_draws_follow(const Problem& problem, const at::Tensor& probs) {
  const at::Tensor counts = at::bincount(draw_many(problem), {}, probs.size(0)).to(at::kDouble);
  EXPECT_EQ(counts.masked_select(probs == 0).sum().item<double>(), 0) << "a removed token was drawn";
  EXPECT_GT(goodness_of_fit(counts, probs, static_cast<double>(num_draws)), 1e-4);
}

/// Probabilities by the reference implementation. @return [vocab] double on the CPU
at::Tensor expected_probs(const Problem& problem) {
  const SamplerRows rows = SamplerRows::from(std::vector{problem.params}, test_device());
  const at::Tensor processed = engine::process_logits(problem.cond.unsqueeze(0), problem.uncond.unsqueeze(0),
                                                      problem.seen.unsqueeze(0), rows)[0];
  return at::softmax(processed.to(at::kDouble), 0).cpu();
}

Problem random_problem(std::uint64_t seed, std::int64_t vocab = 8194) {
  at::manual_seed(seed);
  return {at::randn({vocab}).to(test_device()),
          at::randn({vocab}).to(test_device()),
          (at::rand({vocab}) < 0.05).to(test_device()),
          {}};
}

TEST(GpuCudaSampler, DrawsFollowTheProcessedProbabilitiesOfTheGoldens) {
  AUDIOBOOKD_REQUIRE_CASE("sampling");
  const GoldenCase golden("sampling");
  const at::Tensor cond = golden.on_device("cond");
  const at::Tensor uncond = golden.on_device("uncond");
  const at::Tensor seen = at::zeros_like(cond, at::kBool).scatter(1, golden.on_device("history"), true);
  for (const std::string& unit : golden.units("params")) {
    const at::Tensor recorded = golden.at(unit + ".params");
    SamplingParams params;
    params.cfg_weight = recorded[0].item<float>();
    params.repetition_penalty = recorded[1].item<float>();
    params.temperature = recorded[2].item<float>();
    params.min_p = recorded[3].item<float>();
    params.top_p = recorded[4].item<float>();
    const at::Tensor probs = at::softmax(golden.at(unit + ".processed").to(at::kDouble), -1);
    for (std::int64_t row = 0; row < cond.size(0); ++row) {
      SCOPED_TRACE(unit + " row " + std::to_string(row));
      expect_draws_follow({cond[row], uncond[row], seen[row], params}, probs[row]);
    }
  }
}

TEST(GpuCudaSampler, DrawsFollowTheProbabilitiesThatTopKLeaves) {
  struct Case {
    int top_k;
    float top_p, min_p;
  };
  for (const auto& [top_k, top_p, min_p] :
       {Case{2, 1, 0}, {40, 1, 0}, {1000, 1, 0}, {40, 0.7f, 0}, {40, 1, 0.05f}, {300, 0.8f, 0.01f}, {8193, 1, 0}}) {
    for (const float cfg_weight : {0.0f, 0.5f}) {
      SCOPED_TRACE("top_k " + std::to_string(top_k) + ", top_p " + std::to_string(top_p) + ", min_p " +
                   std::to_string(min_p) + ", guidance " + std::to_string(cfg_weight));
      Problem problem = random_problem(31);
      problem.params.cfg_weight = cfg_weight;
      problem.params.top_k = top_k;
      problem.params.top_p = top_p;
      problem.params.min_p = min_p;
      const at::Tensor probs = expected_probs(problem);
      EXPECT_GT((probs > 0).sum().item<std::int64_t>(), 1) << "one token is left: the test shows nothing";
      expect_draws_follow(problem, probs);
    }
  }
}

TEST(GpuCudaSampler, TopKKeepsTokensAsProbableAsTheLast) {
  Problem problem = random_problem(32, 500);
  const at::Tensor groups = at::floor_divide(at::randperm(500, at::kLong), 7); // of seven equal ones
  problem.cond = (groups.to(at::kFloat) * -0.1f).to(test_device());
  problem.uncond = problem.cond;
  problem.params.repetition_penalty = 1;
  problem.params.min_p = 0;
  for (const int top_k : {1, 3, 30, 200}) {
    SCOPED_TRACE(top_k);
    problem.params.top_k = top_k;
    const at::Tensor probs = expected_probs(problem);
    EXPECT_EQ((probs > 0).sum().item<std::int64_t>(), (top_k + 6) / 7 * 7);
    expect_draws_follow(problem, probs);
  }
}

TEST(GpuCudaSampler, TopK1IsGreedyAndTopKOfTheWholeVocabularyIsOff) {
  Problem problem = random_problem(33);
  const at::Tensor off = draw_many(problem);
  for (const int top_k : {8194, 10000}) {
    problem.params.top_k = top_k;
    EXPECT_TRUE(at::equal(draw_many(problem), off)) << top_k;
  }
  problem.params.top_k = 1;
  const at::Tensor first = draw_many(problem);
  problem.params.top_k = 0;
  problem.params.greedy = true;
  EXPECT_TRUE(at::equal(first, draw_many(problem)));
  EXPECT_EQ(std::get<0>(at::_unique(first)).numel(), 1);
}

TEST(GpuCudaSampler, ATokenDoesNotDependOnTheOtherPlaces) {
  const Problem problem = random_problem(34);
  std::vector<SamplingParams> params(60);
  for (std::size_t i = 0; i < params.size(); ++i) {
    params[i].min_p = 0;
    params[i].top_k = i % 2 == 0 ? 50 : 0;
    params[i].top_p = i % 3 == 0 ? 0.5f : 1.0f;
    params[i].cfg_weight = i % 5 == 0 ? 0.0f : 0.5f;
  }
  const at::Tensor logits = padded(at::stack({problem.cond, problem.uncond}));
  const auto draw_at = [&](const at::Tensor& places) {
    PlaceState state = make_state(params, problem.seen.unsqueeze(0), 8194);
    const at::Tensor zeros = at::zeros_like(places);
    engine::cuda::sample(logits, places, zeros, zeros + 1, state, {8194, 6561, 6562});
    return state.history.select(1, 0);
  };
  const at::Tensor together = draw_at(numbers(60));
  for (std::int64_t place = 0; place < 60; ++place) {
    EXPECT_EQ(draw_at(numbers(60).narrow(0, place, 1))[place].item<int>(), together[place].item<int>()) << place;
  }
}

TEST(GpuCudaSampler, GreedyTokenIsThatOfTheReferenceAndStateMovesOn) {
  at::manual_seed(5);
  const at::Tensor cond = (at::randn({64, 8194}) * 3).to(test_device());
  const at::Tensor uncond = (at::randn({64, 8194}) * 3).to(test_device());
  const at::Tensor seen = (at::rand({64, 8194}) < 0.05).to(test_device());
  std::vector<SamplingParams> params(64);
  for (std::size_t i = 0; i < params.size(); ++i) {
    params[i].greedy = true;
    params[i].cfg_weight = i % 3 == 0 ? 0.0f : 0.5f;
    params[i].top_p = i % 4 == 0 ? 0.7f : 1.0f;
    params[i].top_k = i % 5 == 0 ? 10 : 0;
  }
  PlaceState state = make_state(params, seen, 8194);
  const at::Tensor logits = padded(at::stack({cond, uncond}, 1).view({128, 8194}));
  engine::cuda::sample(logits, numbers(64), numbers(64) * 2, numbers(64) * 2 + 1, state, {8194, 6561, 6562});
  const SamplerRows rows = SamplerRows::from(params, test_device());
  const at::Tensor expected = engine::process_logits(cond, uncond, seen, rows).argmax(-1);
  EXPECT_TRUE(at::equal(state.history.select(1, 0).to(at::kLong), expected));
  const at::Tensor going = (expected != 6562).to(at::kInt);
  EXPECT_TRUE(at::equal(state.active, going));
  EXPECT_TRUE(at::equal(state.drawn, at::ones_like(state.drawn)));
  EXPECT_TRUE(at::equal(state.tokens.view({64, 2}).select(1, 0), expected * going));
}

TEST(GpuCudaSampler, WhatStepsAttendedToIsKeptBesideTheirTokens) {
  const Problem problem = random_problem(35);
  PlaceState state = make_state(std::vector<SamplingParams>(7), problem.seen.unsqueeze(0), 8194);
  state.attended_history = at::zeros({7, 100, 3}, at::TensorOptions(at::kShort).device(test_device()));
  const at::Tensor logits = padded(at::stack({problem.cond, problem.uncond}));
  logits.select(1, 6562).fill_(-1e3); // nobody stops
  std::vector<at::Tensor> steps;
  for (int step = 0; step < 3; ++step) {
    state.attended = at::randint(-1, 2050, {14, 3}, state.active.options());
    steps.push_back(state.attended.view({7, 2, 3}).select(1, 0).to(at::kShort)); // conditional rows
    const at::Tensor zeros = at::zeros({7}, state.active.options());
    engine::cuda::sample(logits, numbers(7), zeros, zeros + 1, state, {8194, 6561, 6562});
  }
  EXPECT_TRUE(at::equal(state.attended_history.narrow(1, 0, 3), at::stack(steps, 1)));
  EXPECT_EQ(state.attended_history.narrow(1, 3, 97).count_nonzero().item<std::int64_t>(), 0);
}

} // namespace
} // namespace audiobookd::tests
