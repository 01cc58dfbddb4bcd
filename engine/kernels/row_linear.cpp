#include "engine/kernels/row_linear.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::kernels {

at::Tensor prompt_linear(const at::Tensor& x, const at::Tensor& weight) {
  return at::linear(x.to(weight.scalar_type()), weight).to(at::kFloat);
}

at::Tensor row_linear(const at::Tensor& x, const at::Tensor& weight) {
  if (!x.is_cpu()) {
    return prompt_linear(x, weight);
  }
  TORCH_CHECK(x.size(0) % row_tile == 0, "row_linear: ", x.size(0), " rows are not a multiple of ", row_tile);
  const at::Tensor rounded = x.to(weight.scalar_type());
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, weight.options());
  for (std::int64_t row = 0; row < x.size(0); row += row_tile) {
    at::Tensor tile = out.narrow(0, row, row_tile);
    at::mm_out(tile, rounded.narrow(0, row, row_tile), weight.t());
  }
  return out.to(at::kFloat);
}

} // namespace audiobookd::engine::kernels
