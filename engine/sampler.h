// Turning logits into speech tokens: guidance, repetition penalty, temperature, min-p, top-k, top-p, draw, for a batch
// of rows with parameters of their own. Every row's result depends on that row alone. Stateless; any thread.
#pragma once

#include "engine/utterance.h"

#include <ATen/core/Tensor.h>
#include <span>

namespace audiobookd::engine {

/// Sampling parameters of a batch as tensors on the device of the logits, each [rows, 1], fp32 unless said otherwise.
struct SamplerRows {
  at::Tensor cfg_weight;
  at::Tensor repetition_penalty;
  at::Tensor temperature;
  at::Tensor min_p;
  at::Tensor top_k; // int64
  at::Tensor top_p;
  at::Tensor greedy;       // bool
  bool uses_top_k = false; // any row has top_k > 0
  bool uses_top_p = false; // any row has top_p < 1

  /// Gathers @p params; rows in the given order.
  static SamplerRows from(std::span<const SamplingParams> params, at::Device device);
};

/// cond + w (cond - uncond) -> repetition penalty over @p seen -> temperature -> min-p -> top-k -> top-p.
/// The reference does so for English, without top-k. Hugging Face's generation has top-k directly after the
/// temperature; here it may as well follow min-p, for both keep a run of the most probable tokens and the
/// probabilities' ratios: in either order the shorter run is left. Tokens as probable as the k-th are all kept.
/// @param cond, uncond [rows, vocab] fp32; for rows without guidance uncond equals cond or the weight is 0.
/// @param seen [rows, vocab] bool, tokens generated so far, the start token included.
/// @return [rows, vocab]; removed tokens are -inf.
at::Tensor process_logits(const at::Tensor& cond, const at::Tensor& uncond, const at::Tensor& seen,
                          const SamplerRows& rows);

/// Draws a token per row by inverting the cumulative distribution (in double), or takes the most probable one.
/// @param processed [rows, vocab] from process_logits(). @param uniforms [rows, 1] double in (0, 1).
/// @return [rows] int64
at::Tensor draw(const at::Tensor& processed, const at::Tensor& uniforms, const SamplerRows& rows);

} // namespace audiobookd::engine
