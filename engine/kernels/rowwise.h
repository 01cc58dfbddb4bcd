// Element-wise work of a Llama block, computed row by row.
//
// On the CPU a row's result does not depend on the other rows or on the number of threads, to the bit (ATen's own
// element-wise loops switch between vector and scalar code at places that move with the shape). fp32. On CUDA these
// are plain ATen.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::kernels {

/// x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019). @param x [..., n] contiguous. @param weight [n]
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// SwiGLU: silu(gate) * up. @param gate_up [..., 2 n] contiguous, gate first. @return [..., n]
at::Tensor silu_mul(const at::Tensor& gate_up);

} // namespace audiobookd::engine::kernels
