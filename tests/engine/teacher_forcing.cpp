#include "tests/engine/teacher_forcing.h"

#include "engine/kernels/row_linear.h"
#include "engine/sampler.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>
#include <random>

namespace audiobookd::tests {
namespace {

using engine::KvCache;
using engine::Llama;
using engine::LlamaConfig;
using engine::SamplerRows;
using engine::SamplingParams;
using engine::chatterbox::T3;

/// Row r owns pages 1 + r * max_pages and so on; padding rows have the scratch page alone.
at::Tensor make_block_table(const ForcedUtterances& utterances) {
  const std::int64_t used = 2 * utterances.count();
  const std::int64_t rows =
      (used + engine::kernels::row_tile - 1) / engine::kernels::row_tile * engine::kernels::row_tile;
  const std::int64_t pages = utterances.pages_per_row();
  at::Tensor table = at::full({rows, pages}, KvCache::scratch_page, at::kInt);
  table.narrow(0, 0, used).copy_(at::arange(1, 1 + used * pages, at::kInt).view({used, pages}));
  return table.to(test_device());
}

/// [utterances] to [rows]: both rows of an utterance get its value, padding rows get 0.
at::Tensor by_row(const at::Tensor& values, std::int64_t rows) {
  const at::Tensor both = values.repeat_interleave(2);
  return at::constant_pad_nd(both, {0, rows - both.size(0)}).to(test_device());
}

at::Tensor tokens_seen(const at::Tensor& tokens, std::int64_t vocab, int start_token) { // [utterances, vocab] bool
  at::Tensor seen = at::zeros({tokens.size(1), vocab}, at::kBool);
  seen.select(1, start_token).fill_(true);
  return seen.scatter(1, tokens.t(), true).to(test_device());
}

at::Tensor processed(const at::Tensor& logits, const at::Tensor& seen, const SamplingParams& params) {
  const SamplerRows rows =
      SamplerRows::from(std::vector(static_cast<std::size_t>(logits.size(0)), params), logits.device());
  return engine::process_logits(logits.select(1, 0), logits.select(1, 1), seen, rows);
}

at::Tensor guided(const at::Tensor& logits) { // [..., 2, vocab] -> [..., vocab]
  const at::Tensor cond = logits.select(-2, 0);
  return cond + SamplingParams{}.cfg_weight * (cond - logits.select(-2, 1));
}

at::Tensor plain_rms_norm(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * (wide.square().mean(-1, true) + Llama::rms_eps).rsqrt();
  return weight.to(at::kBFloat16) * scaled.to(at::kBFloat16);
}

at::Tensor plain_linear(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x, weight.to(at::kBFloat16));
}

/// q cos + rotate_half(q) sin. @param x [rows, heads, positions, dim]. @param cos, sin [positions, dim]
at::Tensor plain_rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto halves = x.chunk(2, -1);
  return x * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
}

/// @param embeddings [rows, positions, hidden] bf16. @return the same shape, after the final norm
at::Tensor plain_backbone(const Llama& llama, const at::Tensor& embeddings) {
  const LlamaConfig& c = llama.config();
  const std::int64_t rows = embeddings.size(0);
  const std::int64_t positions = embeddings.size(1);
  const auto table = llama.rope_table().narrow(0, 0, positions).to(at::kBFloat16).chunk(2, -1);
  const at::Tensor cos = at::cat({table[0], table[0]}, -1);
  const at::Tensor sin = at::cat({table[1], table[1]}, -1);
  at::Tensor hidden = embeddings;
  for (const Llama::Layer& layer : llama.layers()) {
    const auto qkv = plain_linear(plain_rms_norm(hidden, layer.input_norm), layer.qkv)
                         .view({rows, positions, 3, c.num_heads, c.head_dim})
                         .permute({2, 0, 3, 1, 4})
                         .unbind(0); // each [rows, heads, positions, dim]
    const at::Tensor attended = at::scaled_dot_product_attention(
        plain_rotate(qkv[0], cos, sin), plain_rotate(qkv[1], cos, sin), qkv[2], {}, 0.0, /*is_causal=*/true);
    hidden = hidden + plain_linear(attended.transpose(1, 2).reshape({rows, positions, -1}), layer.output);
    const auto gate_up = plain_linear(plain_rms_norm(hidden, layer.post_norm), layer.gate_up).chunk(2, -1);
    hidden = hidden + plain_linear(at::silu(gate_up[0]) * gate_up[1], layer.down);
  }
  return plain_rms_norm(hidden, llama.norm());
}

/// What logit_error() gathers of one step, each [utterances].
struct StepError {
  at::Tensor margin;    // between the two largest processed logits of fp32
  at::Tensor flipped;   // bool: another token is the most probable one
  at::Tensor variance;  // of the processed logits' difference
  at::Tensor kl;        // KL(fp32 || other)
  at::Tensor variation; // total variation distance after min-p
};

/// @param logits, exact [utterances, 2, vocab]. @param seen [utterances, vocab] bool
StepError compare_step(const at::Tensor& logits, const at::Tensor& exact, const at::Tensor& seen) {
  constexpr double smallest = -100; // log of a probability that fp32 takes for 0
  SamplingParams untruncated;
  untruncated.min_p = 0;
  const at::Tensor p = processed(exact, seen, untruncated);
  const at::Tensor q = processed(logits, seen, untruncated);
  const at::Tensor top = std::get<0>(p.topk(2, -1));
  const at::Tensor log_p = at::log_softmax(p, -1, at::kDouble).clamp_min(smallest);
  const at::Tensor log_q = at::log_softmax(q, -1, at::kDouble).clamp_min(smallest);
  const at::Tensor both = p.isfinite().logical_and(q.isfinite());
  const at::Tensor square = (p - q).square().masked_fill(both.logical_not(), 0);
  const at::Tensor drawn = at::softmax(processed(exact, seen, {}), -1);
  return {top.select(-1, 0) - top.select(-1, 1), p.argmax(-1) != q.argmax(-1), square.sum(-1) / both.sum(-1),
          (log_p.exp() * (log_p - log_q)).sum(-1),
          (drawn - at::softmax(processed(logits, seen, {}), -1)).abs().sum(-1) / 2};
}

} // namespace

at::Tensor ForcedT3::prefill(const std::vector<at::Tensor>& prompts, const at::Tensor& block_table) {
  const at::Tensor table = block_table.cpu();
  const auto pages_of = [&](std::int64_t row) {
    const auto* const pages = table.const_data_ptr<std::int32_t>() + row * table.size(1);
    return std::vector<std::int32_t>(pages, pages + table.size(1));
  };
  std::vector<at::Tensor> logits;
  for (const at::Tensor& prompt : prompts) {
    const auto row = static_cast<std::int64_t>(2 * logits.size());
    logits.push_back(model_.prefill(prompt, {pages_of(row), pages_of(row + 1)}, cache_));
  }
  return at::cat(logits);
}

at::Tensor ForcedT3::decode(const Step& step) {
  return model_.decode(step.tokens, step.speech_positions, {step.block_table, step.positions}, cache_);
}

std::int64_t ForcedUtterances::pages_per_row() const {
  std::int64_t longest = 0;
  for (const at::Tensor& prompt : prompts) {
    longest = std::max(longest, prompt.size(1));
  }
  return KvCache::pages_for(static_cast<int>(longest) + steps);
}

at::Tensor follow(ForcedModel& model, const ForcedUtterances& utterances, const NextTokens& next) {
  const std::int64_t used = 2 * utterances.count();
  const at::Tensor table = make_block_table(utterances);
  at::Tensor lengths = at::empty({utterances.count()}, at::kInt);
  for (int u = 0; u < utterances.count(); ++u) {
    lengths[u] = utterances.prompts[static_cast<std::size_t>(u)].size(1);
  }
  const auto grouped = [&](const at::Tensor& logits) {
    return logits.narrow(0, 0, used).view({utterances.count(), 2, -1});
  };
  std::vector<at::Tensor> all{grouped(model.prefill(utterances.prompts, table))};
  for (int step = 1; step < utterances.steps; ++step) {
    const at::Tensor tokens = next(step - 1, all.back());
    all.push_back(
        grouped(model.decode({by_row(tokens, table.size(0)), by_row(at::full_like(tokens, step), table.size(0)),
                              by_row(lengths + (step - 1), table.size(0)), table})));
  }
  return at::stack(all);
}

History draw_history(ForcedModel& model, const ForcedUtterances& utterances, int start_token) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform;
  History history;
  history.tokens = at::full({utterances.steps, utterances.count()}, start_token, at::kLong);
  const SamplerRows rows = SamplerRows::from(std::vector<SamplingParams>(utterances.prompts.size()), test_device());
  const auto next = [&](std::int64_t step, const at::Tensor& logits) {
    const at::Tensor seen = tokens_seen(history.tokens.narrow(0, 0, step), logits.size(-1), start_token);
    const at::Tensor speech = processed(logits, seen, {}).narrow(-1, 0, start_token); // no stop, no special token
    at::Tensor uniforms = at::empty({utterances.count(), 1}, at::kDouble);
    std::generate_n(uniforms.data_ptr<double>(), uniforms.numel(), [&] { return uniform(random); });
    history.tokens[step].copy_(engine::draw(speech, uniforms.to(test_device()), rows));
    return history.tokens[step];
  };
  history.logits = follow(model, utterances, next);
  return history;
}

at::Tensor force(ForcedModel& model, const ForcedUtterances& utterances, const at::Tensor& tokens) {
  return follow(model, utterances, [&](std::int64_t step, const at::Tensor&) { return tokens[step]; });
}

at::Tensor plain_bf16_logits(const T3& model, const ForcedUtterances& utterances, const at::Tensor& tokens) {
  const auto half = [](const at::Tensor& tensor) { return tensor.to(at::kBFloat16); };
  const std::int64_t fed = utterances.steps - 1;
  const at::Tensor positions = half(model.speech_position_embedding().narrow(0, 1, fed));
  std::vector<at::Tensor> all;
  for (int u = 0; u < utterances.count(); ++u) {
    const at::Tensor history = tokens.select(1, u).narrow(0, 0, fed).to(test_device());
    const at::Tensor speech = half(model.speech_embedding().index_select(0, history)) + positions;
    const at::Tensor prompt = half(utterances.prompts[static_cast<std::size_t>(u)]);
    const at::Tensor hidden = plain_backbone(model.backbone(), at::cat({prompt, speech.expand({2, fed, -1})}, 1));
    const at::Tensor last = hidden.narrow(1, prompt.size(1) - 1, utterances.steps);
    all.push_back(plain_linear(last, model.speech_head()).to(at::kFloat).transpose(0, 1)); // [steps, 2, vocab]
  }
  return at::stack(all, 1);
}

LogitError logit_error(const at::Tensor& logits, const History& exact, int start_token) {
  std::vector<StepError> steps;
  for (std::int64_t step = 0; step < logits.size(0); ++step) {
    const at::Tensor seen = tokens_seen(exact.tokens.narrow(0, 0, step), logits.size(-1), start_token);
    steps.push_back(compare_step(logits[step], exact.logits[step], seen));
  }
  const auto all = [&](at::Tensor StepError::*field) {
    std::vector<at::Tensor> values;
    for (const StepError& step : steps) {
      values.push_back(step.*field);
    }
    return at::stack(values);
  };
  const auto count = [](const at::Tensor& where) { return static_cast<int>(where.sum().item<std::int64_t>()); };
  const at::Tensor expected = guided(exact.logits);
  LogitError error;
  error.relative = ((guided(logits) - expected).norm() / expected.norm()).item<double>();
  error.sigma = std::sqrt(all(&StepError::variance).mean().item<double>());
  const at::Tensor clear = all(&StepError::margin) > 4 * all(&StepError::variance).sqrt();
  error.positions = static_cast<int>(clear.numel());
  error.clear = count(clear);
  error.flips = count(all(&StepError::flipped));
  error.clear_flips = count(all(&StepError::flipped).logical_and(clear));
  error.mean_kl = all(&StepError::kl).mean().item<double>();
  error.max_kl = all(&StepError::kl).max().item<double>();
  error.mean_variation = all(&StepError::variation).mean().item<double>();
  return error;
}

std::ostream& operator<<(std::ostream& out, const LogitError& error) {
  return out << "relative error " << error.relative << ", sigma " << error.sigma << ", another most probable token in "
             << error.flips << " of " << error.positions << " positions (" << error.clear_flips << " of the "
             << error.clear << " with a margin above 4 sigma of the position), KL mean " << error.mean_kl << " max "
             << error.max_kl << ", total variation after min-p " << error.mean_variation;
}

} // namespace audiobookd::tests
