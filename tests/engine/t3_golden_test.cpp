// T3 against the recorded reference: conditioning, prompt, prefill logits, greedy decoding, sampling; and the
// full-size model. Tolerances are those of the goldens' README.
#include "engine/kernels/row_linear.h"
#include "engine/sampler.h"
#include "tests/engine/t3_fixture.h"

#include <ATen/ATen.h>
#include <cmath>

namespace audiobookd::tests {
namespace {

using engine::KvCache;
using engine::SamplerRows;
using engine::SamplingParams;
using engine::chatterbox::T3;

std::vector<std::vector<std::int32_t>> reserve_rows(KvCache& cache, std::int64_t rows, int positions) {
  std::vector<std::vector<std::int32_t>> pages;
  for (std::int64_t row = 0; row < rows; ++row) {
    pages.push_back(cache.reserve(positions));
  }
  return pages;
}

/// Decodes one utterance step by step with the parts the decoder is made of, showing every intermediate result.
class StepDecoder {
public:
  StepDecoder(const T3& model, const at::Tensor& prompt, int max_steps)
      : model_(model), cache_(model.make_cache(2 * KvCache::pages_for(static_cast<int>(prompt.size(1)) + max_steps))),
        length_(static_cast<int>(prompt.size(1))), pages_(reserve_rows(cache_, prompt.size(0), length_ + max_steps)),
        logits_(model.prefill(prompt, pages_, cache_)) {}

  /// Raw logits [cond/uncond, vocab] for the next token.
  [[nodiscard]] const at::Tensor& logits() const { return logits_; }

  void feed(std::int64_t token) {
    ++fed_;
    const std::int64_t rows = engine::kernels::row_tile;
    const auto max_pages = static_cast<std::int64_t>(pages_.front().size());
    at::Tensor table = at::zeros({rows, max_pages}, at::kInt);
    at::Tensor positions = at::zeros({rows}, at::kInt);
    for (std::size_t row = 0; row < pages_.size(); ++row) {
      table[static_cast<std::int64_t>(row)].copy_(at::tensor(pages_[row], at::kInt));
      positions[static_cast<std::int64_t>(row)] = length_ + fed_ - 1;
    }
    const at::Device device = test_device();
    logits_ = model_
                  .decode(at::full({rows}, token, at::kLong).to(device), at::full({rows}, fed_, at::kLong).to(device),
                          {table.to(device), positions.to(device)}, cache_)
                  .narrow(0, 0, static_cast<std::int64_t>(pages_.size()));
  }

private:
  const T3& model_;
  KvCache cache_;
  int length_;
  int fed_ = 0;
  std::vector<std::vector<std::int32_t>> pages_;
  at::Tensor logits_;
};

SamplingParams params_from(const at::Tensor& values) {
  SamplingParams params;
  params.cfg_weight = values[0].item<float>();
  params.repetition_penalty = values[1].item<float>();
  params.temperature = values[2].item<float>();
  params.min_p = values[3].item<float>();
  params.top_p = values[4].item<float>();
  params.greedy = true;
  return params;
}

/// Compares where both are finite; the sets of removed (-inf) tokens must be equal.
void expect_processed_near(const at::Tensor& actual_on_device, const at::Tensor& expected, double tolerance) {
  const at::Tensor actual = actual_on_device.cpu();
  ASSERT_EQ(actual.sizes().vec(), expected.sizes().vec());
  EXPECT_TRUE(at::equal(actual.isinf(), expected.isinf())) << "the set of removed tokens differs";
  const at::Tensor kept = expected.isfinite().logical_and(actual.isfinite());
  EXPECT_LE(max_abs_diff(actual.masked_select(kept), expected.masked_select(kept)), tolerance);
}

TEST(GoldenT3Conditioning, EveryStageMatches) {
  AUDIOBOOKD_REQUIRE_CASE("t3_conditioning");
  const GoldenCase golden("t3_conditioning");
  const T3& t3 = tiny_t3();
  for (const std::string& unit : golden.units("cond_emb")) {
    SCOPED_TRACE(unit);
    const at::Tensor prompt = golden.on_device(unit + ".prompt_tokens").squeeze(0);
    const at::Tensor embedded = t3.embed_prompt(prompt);
    EXPECT_TENSOR_NEAR(embedded.unsqueeze(0), golden.at(unit + ".prompt_emb"), 1e-5);
    EXPECT_TENSOR_NEAR(t3.perceiver().cross(embedded).unsqueeze(0), golden.at(unit + ".perceiver_cross"), 1e-5);
    EXPECT_TENSOR_NEAR(t3.perceiver().resample(embedded).unsqueeze(0), golden.at(unit + ".perceiver_out"), 1e-5);
    const at::Tensor rows = t3.condition(golden.on_device(unit + ".speaker_emb").squeeze(0), prompt,
                                         golden.at(unit + ".emotion").flatten()[0].item<float>());
    EXPECT_TENSOR_NEAR(rows.unsqueeze(0), golden.at(unit + ".cond_emb"), 1e-5);
  }
}

TEST(GoldenT3Prefill, PromptAndLogitsMatch) {
  AUDIOBOOKD_REQUIRE_CASE("t3_prefill");
  const GoldenCase golden("t3_prefill");
  const T3& t3 = tiny_t3();
  const auto voice = tiny_voice();
  const at::Tensor conditioning = t3.condition(voice->speaker_emb, voice->prompt_speech_tokens, voice->exaggeration);
  const std::int64_t prefix = conditioning.size(0);
  for (const std::string& unit : golden.units("input_embeds")) {
    SCOPED_TRACE(unit);
    const at::Tensor prompt = t3.embed_utterance(conditioning, to_ids(golden.at(unit + ".text_ids")), true);
    const at::Tensor expected = golden.at(unit + ".input_embeds");
    EXPECT_TENSOR_NEAR(prompt, expected, 2e-5);
    const std::int64_t rest = prompt.size(1) - prefix;
    EXPECT_TENSOR_NEAR(prompt.narrow(1, prefix, rest), expected.narrow(1, prefix, rest), 1e-6);
    const StepDecoder decoder(t3, prompt, 1);
    EXPECT_TENSOR_NEAR(decoder.logits(), golden.at(unit + ".logits"), 1e-4);
  }
}

void expect_top16_near(const GoldenCase& golden, const std::string& name, std::int64_t step, const at::Tensor& row,
                       double tolerance) {
  const at::Tensor ids = golden.at(name + "_ids")[step].to(at::kLong);
  const at::Tensor expected = golden.at(name + "_values")[step];
  const at::Tensor actual = row.cpu().index_select(0, ids);
  const at::Tensor finite = expected.isfinite();
  EXPECT_TRUE(at::equal(actual.isfinite(), finite)) << name << " step " << step;
  EXPECT_LE(max_abs_diff(actual.masked_select(finite), expected.masked_select(finite)), tolerance)
      << name << " step " << step;
}

/// Follows one recorded greedy run and checks all that was recorded of it.
void expect_greedy_run(const GoldenCase& golden, const std::string& unit) {
  const T3& t3 = tiny_t3();
  const auto voice = tiny_voice();
  const at::Tensor recorded = golden.at(unit + ".params");
  const SamplerRows rows = SamplerRows::from(std::vector{params_from(recorded)}, test_device());
  const at::Tensor conditioning =
      t3.condition(voice->speaker_emb, voice->prompt_speech_tokens, recorded[5].item<float>());
  const at::Tensor tokens = golden.at(unit + ".tokens");
  // Without guidance the reference keeps the text in its second row, which then equals the first.
  const bool guided = recorded[0].item<float>() > 0;
  const at::Tensor prompt = t3.embed_utterance(conditioning, to_ids(golden.at(unit + ".text_ids")), guided);
  StepDecoder decoder(t3, guided ? prompt : prompt.repeat({2, 1, 1}), static_cast<int>(tokens.size(0)));
  const at::Tensor full_steps = golden.at(unit + ".full_steps");
  at::Tensor seen = at::zeros({1, decoder.logits().size(1)}, at::TensorOptions(at::kBool).device(test_device()));
  seen[0][t3.config().start_speech_token] = true;
  std::int64_t next_full = 0;
  for (std::int64_t step = 0; step < tokens.size(0); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const at::Tensor logits = decoder.logits();
    const at::Tensor processed = engine::process_logits(logits.narrow(0, 0, 1), logits.narrow(0, 1, 1), seen, rows);
    expect_top16_near(golden, unit + ".cond_top16", step, logits[0], 1e-4);
    expect_top16_near(golden, unit + ".uncond_top16", step, logits[1], 1e-4);
    expect_top16_near(golden, unit + ".processed_top16", step, processed[0], 3e-4);
    const at::Tensor statistics = at::stack({logits[0].mean(), logits[0].std(), logits[1].mean(), logits[1].std()});
    EXPECT_TENSOR_NEAR(statistics, golden.at(unit + ".logits_mean_std")[step], 1e-4);
    EXPECT_EQ(processed.isfinite().sum().item<std::int64_t>(),
              golden.at(unit + ".processed_kept")[step].item<std::int32_t>());
    if (next_full < full_steps.size(0) && full_steps[next_full].item<std::int32_t>() == step) {
      EXPECT_TENSOR_NEAR(logits, golden.at(unit + ".full_logits")[next_full], 1e-4);
      expect_processed_near(processed[0], golden.at(unit + ".full_processed")[next_full], 3e-4);
      ++next_full;
    }
    const at::Tensor drawn = engine::draw(processed, at::full({1, 1}, 0.5, at::kDouble).to(test_device()), rows);
    ASSERT_EQ(drawn.item<std::int64_t>(), tokens[step].item<std::int64_t>());
    seen[0][drawn.item<std::int64_t>()] = true;
    decoder.feed(drawn.item<std::int64_t>());
  }
  EXPECT_EQ(next_full, full_steps.size(0)) << "not every recorded full step was reached";
}

TEST(GoldenT3Decode, GreedyRunsMatchStepByStep) {
  AUDIOBOOKD_REQUIRE_CASE("t3_decode");
  const GoldenCase golden("t3_decode");
  for (const std::string& unit : golden.units("tokens")) {
    SCOPED_TRACE(unit);
    expect_greedy_run(golden, unit);
  }
}

TEST(GoldenSampling, ProcessedLogitsAndProbabilitiesMatch) {
  AUDIOBOOKD_REQUIRE_CASE("sampling");
  const GoldenCase golden("sampling");
  const at::Tensor cond = golden.on_device("cond");
  const at::Tensor uncond = golden.on_device("uncond");
  const at::Tensor seen = at::zeros_like(cond, at::kBool).scatter(1, golden.on_device("history"), true);
  for (const std::string& unit : golden.units("params")) {
    SCOPED_TRACE(unit);
    const SamplingParams params = params_from(golden.at(unit + ".params"));
    const SamplerRows rows =
        SamplerRows::from(std::vector<SamplingParams>(static_cast<std::size_t>(cond.size(0)), params), test_device());
    const at::Tensor processed = engine::process_logits(cond, uncond, seen, rows);
    expect_processed_near(processed, golden.at(unit + ".processed"), 2e-5);
    EXPECT_TENSOR_NEAR(processed.isfinite().sum(-1), golden.at(unit + ".kept").to(at::kLong), 0);
    if (golden.contains(unit + ".probs")) {
      EXPECT_TENSOR_NEAR(at::softmax(processed, -1), golden.at(unit + ".probs"), 1e-6);
    }
  }
}

TEST(GoldenFullT3, ConditioningPromptAndGreedyStepsMatch) {
  AUDIOBOOKD_REQUIRE_CASE("full_t3");
  const GoldenCase golden("full_t3");
  const T3 t3(engine::chatterbox::T3Config{}, engine::StateDict::synthetic("full-size T3", test_device()));
  const at::Tensor conditioning =
      t3.condition(golden.on_device("speaker_emb").squeeze(0), golden.on_device("prompt_tokens").squeeze(0),
                   golden.at("emotion").flatten()[0].item<float>());
  EXPECT_TENSOR_NEAR(conditioning.unsqueeze(0), golden.at("cond_emb"), 1e-4);
  const at::Tensor prompt = t3.embed_utterance(conditioning, to_ids(golden.at("text_ids")), true);
  const at::Tensor tail = golden.at("input_embeds_tail");
  EXPECT_TENSOR_NEAR(prompt.narrow(1, prompt.size(1) - tail.size(1), tail.size(1)), tail, 1e-6);

  SamplingParams params; // what the case was recorded with
  params.greedy = true;
  const SamplerRows rows = SamplerRows::from(std::vector{params}, test_device());
  const at::Tensor tokens = golden.at("tokens");
  StepDecoder decoder(t3, prompt, static_cast<int>(tokens.size(0)));
  at::Tensor seen = at::zeros({1, decoder.logits().size(1)}, at::TensorOptions(at::kBool).device(test_device()));
  seen[0][t3.config().start_speech_token] = true;
  for (std::int64_t step = 0; step < tokens.size(0); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const at::Tensor logits = decoder.logits();
    EXPECT_TENSOR_NEAR(logits, golden.at("logits")[step], 1e-3);
    const at::Tensor processed = engine::process_logits(logits.narrow(0, 0, 1), logits.narrow(0, 1, 1), seen, rows);
    const auto drawn = processed.argmax(-1).item<std::int64_t>();
    ASSERT_EQ(drawn, tokens[step].item<std::int64_t>());
    seen[0][drawn] = true;
    decoder.feed(drawn);
  }
}

} // namespace
} // namespace audiobookd::tests
