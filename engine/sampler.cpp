#include "engine/sampler.h"

#include <ATen/ATen.h>
#include <limits>
#include <vector>

namespace audiobookd::engine {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Keeps the tokens within @p min_p of the most probable one.
at::Tensor apply_min_p(const at::Tensor& logits, const at::Tensor& min_p) {
  const at::Tensor probs = at::softmax(logits, -1);
  return logits.masked_fill(probs < min_p * probs.amax(-1, true), minus_infinity);
}

/// Keeps the @p top_k most probable tokens and those as probable as the last of them (Fan et al. 2018); 0 keeps all.
at::Tensor apply_top_k(const at::Tensor& logits, const at::Tensor& top_k) {
  const at::Tensor sorted = std::get<0>(logits.sort(-1, /*descending=*/true));
  const at::Tensor last_kept = sorted.gather(-1, top_k.clamp(1, logits.size(-1)) - 1);
  return logits.masked_fill((top_k > 0).logical_and(logits < last_kept), minus_infinity);
}

/// Keeps the smallest set of tokens whose probability reaches @p top_p (Holtzman et al. 2020). The removal is decided
/// on ascending cumulative sums, so top_p 1 removes exactly the tokens of probability 0.
at::Tensor apply_top_p(const at::Tensor& logits, const at::Tensor& top_p) {
  const auto [sorted, order] = logits.sort(-1, /*descending=*/false);
  at::Tensor remove_sorted = at::softmax(sorted, -1).cumsum(-1) <= 1 - top_p;
  remove_sorted.select(-1, -1).fill_(false);
  return logits.masked_fill(remove_sorted.scatter(-1, order, remove_sorted), minus_infinity);
}

} // namespace

SamplerRows SamplerRows::from(std::span<const SamplingParams> params, at::Device device) {
  const auto column = [&](auto&& field) {
    std::vector<float> values;
    for (const SamplingParams& p : params) {
      values.push_back(static_cast<float>(field(p)));
    }
    return at::tensor(values, at::kFloat).unsqueeze(1).to(device);
  };
  SamplerRows rows;
  rows.cfg_weight = column([](const SamplingParams& p) { return p.cfg_weight; });
  rows.repetition_penalty = column([](const SamplingParams& p) { return p.repetition_penalty; });
  rows.temperature = column([](const SamplingParams& p) { return p.temperature; });
  rows.min_p = column([](const SamplingParams& p) { return p.min_p; });
  rows.top_k = column([](const SamplingParams& p) { return p.top_k; }).to(at::kLong);
  rows.top_p = column([](const SamplingParams& p) { return p.top_p; });
  rows.greedy = column([](const SamplingParams& p) { return p.greedy; }) != 0;
  for (const SamplingParams& p : params) {
    rows.uses_top_k = rows.uses_top_k || p.top_k > 0;
    rows.uses_top_p = rows.uses_top_p || p.top_p < 1;
  }
  return rows;
}

at::Tensor process_logits(const at::Tensor& cond, const at::Tensor& uncond, const at::Tensor& seen,
                          const SamplerRows& rows) {
  at::Tensor logits = cond + rows.cfg_weight * (cond - uncond);
  const at::Tensor penalised =
      at::where(logits < 0, logits * rows.repetition_penalty, logits / rows.repetition_penalty);
  logits = at::where(seen, penalised, logits) / rows.temperature;
  logits = apply_min_p(logits, rows.min_p);
  if (rows.uses_top_k) {
    logits = apply_top_k(logits, rows.top_k);
  }
  // Rows with top_p 1 must not depend on whether others sort: they lose the tokens of probability 0 either way.
  const at::Tensor possible = logits.masked_fill(at::softmax(logits, -1) == 0, minus_infinity);
  return rows.uses_top_p ? at::where(rows.top_p < 1, apply_top_p(logits, rows.top_p), possible) : possible;
}

at::Tensor draw(const at::Tensor& processed, const at::Tensor& uniforms, const SamplerRows& rows) {
  const at::Tensor cumulative = at::softmax(processed, -1).cumsum(-1, at::kDouble);
  const at::Tensor threshold = uniforms * cumulative.narrow(-1, -1, 1);
  const at::Tensor drawn = (cumulative <= threshold).sum(-1).clamp_max(processed.size(-1) - 1);
  return at::where(rows.greedy.squeeze(1), processed.argmax(-1), drawn);
}

} // namespace audiobookd::engine
