#include "engine/kernels/row_linear.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::kernels {

at::Tensor row_linear(const at::Tensor& x, const at::Tensor& weight) {
  if (!x.is_cpu()) {
    return at::linear(x, weight);
  }
  TORCH_CHECK(x.size(0) % row_tile == 0, "row_linear: ", x.size(0), " rows are not a multiple of ", row_tile);
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
  for (std::int64_t row = 0; row < x.size(0); row += row_tile) {
    at::Tensor tile = out.narrow(0, row, row_tile);
    at::mm_out(tile, x.narrow(0, row, row_tile), weight.t());
  }
  return out;
}

} // namespace audiobookd::engine::kernels
