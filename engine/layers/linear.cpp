// Affine layers: loading and applying them.
#include "engine/layers/linear.h"

#include <ATen/ATen.h>

namespace audiobookd::engine {

Linear::Linear(const StateDict& weights, const std::string& name, std::int64_t in, std::int64_t out)
    : weight(weights.get(name + ".weight", {out, in})), bias(weights.get(name + ".bias", {out})) {}

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

LayerNorm::LayerNorm(const StateDict& weights, const std::string& name, std::int64_t size, double epsilon)
    : weight(weights.get(name + ".weight", {size})), bias(weights.get(name + ".bias", {size})), epsilon(epsilon) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, epsilon);
}

} // namespace audiobookd::engine
