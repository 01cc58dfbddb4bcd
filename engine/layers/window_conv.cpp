// Convolution over packed rows as a matrix product.
#include "engine/layers/window_conv.h"

#include <ATen/ATen.h>

namespace audiobookd::engine {

WindowConv::WindowConv(const StateDict& weights, const std::string& name, std::int64_t in, std::int64_t out,
                       std::int64_t num_taps, std::int64_t first_tap)
    : num_taps_(num_taps), first_tap_(first_tap),
      weight_(
          weights.get(name + ".weight", {out, in, num_taps}).permute({0, 2, 1}).reshape({out, num_taps * in}).clone()),
      bias_(weights.get(name + ".bias", {out})) {}

at::Tensor WindowConv::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  const std::int64_t batch = x.size(0);
  const std::int64_t rows = x.size(1);
  const std::int64_t channels = x.size(2);
  // Window n is num_taps consecutive rows, so all windows are one overlapping view; the mask makes them a matrix.
  const at::Tensor padded = at::constant_pad_nd(x, {0, 0, -first_tap_, first_tap_ + num_taps_ - 1});
  const at::Tensor windows =
      padded.as_strided({batch, rows, num_taps_, channels}, {padded.stride(0), channels, channels, 1});
  return at::linear((windows * mask).view({batch, rows, num_taps_ * channels}), weight_, bias_);
}

} // namespace audiobookd::engine
