// Affine layers that know their place in a checkpoint. Immutable once built; any thread may call them.
#pragma once

#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <string>

namespace audiobookd::engine {

/// x W^T + b over the last dimension.
struct Linear {
  /// Takes `name.weight` [out, in] and `name.bias` [out].
  Linear(const StateDict& weights, const std::string& name, std::int64_t in, std::int64_t out);
  /// @param x [..., in]. @return [..., out]
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight; // [out, in]
  at::Tensor bias;   // [out]
};

/// Layer normalisation over the last dimension (Ba et al. 2016).
struct LayerNorm {
  /// Takes `name.weight` and `name.bias`, both [size].
  LayerNorm(const StateDict& weights, const std::string& name, std::int64_t size, double epsilon);
  /// @param x [..., size]. @return the same shape
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight; // [size]
  at::Tensor bias;   // [size]
  double epsilon;
};

} // namespace audiobookd::engine
