#include "engine/kernels/rowwise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <cmath>

namespace audiobookd::engine::kernels {
namespace {

void rms_norm_row(const float* x, const float* weight, double eps, std::int64_t n, float* out) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(x[i]) * x[i];
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = weight[i] * (x[i] * scale);
  }
}

void silu_mul_row(const float* gate, const float* up, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  }
}

} // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!x.is_cpu()) {
    return weight * (x * (x.square().mean(-1, true) + eps).rsqrt());
  }
  TORCH_CHECK(x.is_contiguous() && x.scalar_type() == at::kFloat, "rms_norm: x must be contiguous fp32");
  const std::int64_t n = x.size(-1);
  at::Tensor out = at::empty_like(x);
  at::parallel_for(0, x.numel() / n, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      rms_norm_row(x.const_data_ptr<float>() + row * n, weight.const_data_ptr<float>(), eps, n,
                   out.data_ptr<float>() + row * n);
    }
  });
  return out;
}

at::Tensor silu_mul(const at::Tensor& gate_up) {
  const std::int64_t n = gate_up.size(-1) / 2;
  if (!gate_up.is_cpu()) {
    return at::silu(gate_up.narrow(-1, 0, n)) * gate_up.narrow(-1, n, n);
  }
  TORCH_CHECK(gate_up.is_contiguous() && gate_up.scalar_type() == at::kFloat,
              "silu_mul: gate_up must be contiguous fp32");
  std::vector<std::int64_t> shape = gate_up.sizes().vec();
  shape.back() = n;
  at::Tensor out = at::empty(shape, gate_up.options());
  at::parallel_for(0, out.numel() / n, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const gate = gate_up.const_data_ptr<float>() + row * 2 * n;
      silu_mul_row(gate, gate + n, n, out.data_ptr<float>() + row * n);
    }
  });
  return out;
}

} // namespace audiobookd::engine::kernels
