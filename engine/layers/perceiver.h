// Perceiver resampler (Jaegle et al. 2021) of T3's conditioning: a fixed number of queries reads a sequence.
#pragma once

#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine {

class Perceiver {
public:
  /// @param weights the dictionary at "cond_enc.perceiver.".
  Perceiver(int num_queries, int hidden_size, int num_heads, const StateDict& weights);

  /// The queries read @p sequence [n, hidden]. @return [num_queries, hidden]
  [[nodiscard]] at::Tensor cross(const at::Tensor& sequence) const;
  /// cross(), then the result reads itself through the same block. @return [num_queries, hidden]
  [[nodiscard]] at::Tensor resample(const at::Tensor& sequence) const;

private:
  [[nodiscard]] at::Tensor attend(const at::Tensor& query, const at::Tensor& context) const;

  int num_heads_;
  at::Tensor queries_;                 // [num_queries, hidden]
  at::Tensor norm_weight_, norm_bias_; // [hidden]
  at::Tensor q_weight_, q_bias_;       // [hidden, hidden], [hidden]
  at::Tensor k_weight_, k_bias_;
  at::Tensor v_weight_, v_bias_;
  at::Tensor out_weight_, out_bias_;
};

} // namespace audiobookd::engine
