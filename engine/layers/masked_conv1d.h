// Channels-first 1-D convolutions over padded batches, whose padding stays zero.
//
// These convolutions look both ways and have biases: after one of them the padding of a shorter sequence is no longer
// zero and would leak into its end with the next. So every result is masked. Immutable once built; any thread.
#pragma once

#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <span>
#include <string>

namespace audiobookd::engine {

/// 1 inside each sequence, 0 in its padding, [batch, 1, longest] fp32; undefined when all lengths are equal.
[[nodiscard]] at::Tensor length_mask(std::span<const std::int64_t> lengths, at::Device device);

/// Zeroes the padding of @p x [batch, channels, longest] in place; an undefined mask means there is none.
at::Tensor& apply_mask(at::Tensor& x, const at::Tensor& mask);

/// How a weight lies in the checkpoint.
enum class WeightForm {
  plain,            ///< `name.weight`
  weight_normalised ///< magnitude and direction (Salimans and Kingma 2016); folded into one weight when it is loaded
};

struct ConvShape {
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
};

class MaskedConv1d {
public:
  MaskedConv1d(const StateDict& weights, const std::string& name, const ConvShape& shape, WeightForm form);
  /// @param x [batch, in, length], zero in its padding. @param mask of the result. @return [batch, out, length']
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask) const;

  /// The same layer for inputs of @p type.
  [[nodiscard]] MaskedConv1d to(at::ScalarType type) const;

  [[nodiscard]] const ConvShape& shape() const noexcept { return shape_; }
  /// [out, in, kernel], weight normalisation folded.
  [[nodiscard]] const at::Tensor& weight() const noexcept { return weight_; }
  [[nodiscard]] const at::Tensor& bias() const noexcept { return bias_; }

private:
  ConvShape shape_;
  at::Tensor weight_; // [out, in, kernel]
  at::Tensor bias_;   // [out]
};

/// Transposed: stretches the length by `stride` when kernel - stride is twice the padding.
class MaskedConvTranspose1d {
public:
  MaskedConvTranspose1d(const StateDict& weights, const std::string& name, const ConvShape& shape, WeightForm form);
  /// As MaskedConv1d.
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask) const;

  [[nodiscard]] const ConvShape& shape() const noexcept { return shape_; }
  /// [in, out, kernel], weight normalisation folded.
  [[nodiscard]] const at::Tensor& weight() const noexcept { return weight_; }
  [[nodiscard]] const at::Tensor& bias() const noexcept { return bias_; }

private:
  ConvShape shape_;
  at::Tensor weight_; // [in, out, kernel]
  at::Tensor bias_;   // [out]
};

} // namespace audiobookd::engine
