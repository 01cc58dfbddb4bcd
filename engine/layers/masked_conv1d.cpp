// Convolutions with masked results; weight normalisation is folded here.
#include "engine/layers/masked_conv1d.h"

#include <ATen/ATen.h>
#include <algorithm>

namespace audiobookd::engine {
namespace {

/// @param shape of the weight; the magnitude belongs to its first dimension.
at::Tensor load_weight(const StateDict& weights, const std::string& name, at::IntArrayRef shape, WeightForm form) {
  if (form == WeightForm::plain) {
    return weights.get(name + ".weight", shape);
  }
  const at::Tensor magnitude = weights.get(name + ".parametrizations.weight.original0", {shape[0], 1, 1});
  const at::Tensor direction = weights.get(name + ".parametrizations.weight.original1", shape);
  return direction * (magnitude / at::linalg_vector_norm(direction, 2, at::IntArrayRef{1, 2}, true));
}

} // namespace

at::Tensor length_mask(std::span<const std::int64_t> lengths, at::Device device) {
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  if (std::all_of(lengths.begin(), lengths.end(), [&](std::int64_t length) { return length == longest; })) {
    return {};
  }
  at::Tensor mask = at::zeros({static_cast<std::int64_t>(lengths.size()), 1, longest});
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    mask.select(0, static_cast<std::int64_t>(i)).narrow(1, 0, lengths[i]).fill_(1);
  }
  return mask.to(device);
}

at::Tensor& apply_mask(at::Tensor& x, const at::Tensor& mask) {
  if (mask.defined()) {
    x.mul_(mask);
  }
  return x;
}

MaskedConv1d::MaskedConv1d(const StateDict& weights, const std::string& name, const ConvShape& shape, WeightForm form)
    : shape_(shape), weight_(load_weight(weights, name, {shape.out, shape.in, shape.kernel}, form)),
      bias_(weights.get(name + ".bias", {shape.out})) {}

at::Tensor MaskedConv1d::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  at::Tensor y = at::conv1d(x, weight_, bias_, shape_.stride, shape_.padding, shape_.dilation);
  return apply_mask(y, mask);
}

MaskedConv1d MaskedConv1d::to(at::ScalarType type) const {
  MaskedConv1d converted = *this;
  converted.weight_ = weight_.to(type);
  converted.bias_ = bias_.to(type);
  return converted;
}

MaskedConvTranspose1d::MaskedConvTranspose1d(const StateDict& weights, const std::string& name, const ConvShape& shape,
                                             WeightForm form)
    : shape_(shape), weight_(load_weight(weights, name, {shape.in, shape.out, shape.kernel}, form)),
      bias_(weights.get(name + ".bias", {shape.out})) {}

at::Tensor MaskedConvTranspose1d::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  at::Tensor y = at::conv_transpose1d(x, weight_, bias_, shape_.stride, shape_.padding);
  return apply_mask(y, mask);
}

} // namespace audiobookd::engine
