// Matrix products in the arithmetic of their weight: fp32, or bf16 with fp32 sums (activations and products are rounded
// to bf16). Those of a decode step give rows that do not depend on how many there are, to the bit.
//
// A BLAS library chooses its kernel, and with it the order of its sums, by the number of rows. On the CPU the rows are
// therefore multiplied in tiles of exactly row_tile rows; on CUDA the caller always passes the same number of rows.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::kernels {

/// Rows of one CPU tile. Measured for a 1024 x 8192 weight on one core: 4 rows 2.3 ms, 16 4.1, 32 5.5.
inline constexpr std::int64_t row_tile = 32;

/// x w^T of a whole prompt. @param x [..., in] fp32. @param weight [out, in] fp32 or bf16. @return [..., out] fp32
at::Tensor prompt_linear(const at::Tensor& x, const at::Tensor& weight);

/// x w^T of a decode step. @param x [rows, in] fp32, contiguous; on the CPU rows is a multiple of row_tile.
/// @param weight [out, in] fp32 or bf16. @return [rows, out] fp32
at::Tensor row_linear(const at::Tensor& x, const at::Tensor& weight);

} // namespace audiobookd::engine::kernels
