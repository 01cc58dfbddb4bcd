// Kernels of the batched CUDA decoder: bf16 weights and cache, fp32 residual stream and norms.
//
// Every function launches on the current stream and returns at once. A row's result depends on that row alone: all
// sums have a fixed order. Tests compare each with ATen in fp32.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::cuda {

/// residual += delta (unless delta is undefined); returns rms_norm(residual) * weight in bf16.
/// @param residual [rows, n] fp32, changed in place. @param delta [rows, n] bf16. @param weight [n] fp32.
at::Tensor add_rms_norm(at::Tensor& residual, const at::Tensor& delta, const at::Tensor& weight, double eps);

/// SwiGLU: silu(gate) * up, computed in fp32. @param gate_up [rows, 2 n] bf16, gate first. @return [rows, n] bf16
at::Tensor silu_mul(const at::Tensor& gate_up);

/// Where rows keep their keys and values: bf16 pages [num_pages, num_heads, page_size, head_dim] of one layer.
struct Pages {
  at::Tensor keys;
  at::Tensor values;
  at::Tensor block_table; // [sequences, max_pages] int32
};

/// Rotates queries and keys of @p qkv in place and writes keys and values to the cache.
/// @param qkv [rows, 3 * heads * dim] bf16. @param cos_sin [max_positions, dim] fp32.
/// @param positions [rows] int32. @param sequences [rows] int32: the row of block_table that holds the pages.
void rope_append(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions, const at::Tensor& sequences,
                 Pages& pages);

/// Attention of one new position a row over its cached positions 0..position.
/// @param qkv as left by rope_append(); row r reads the pages of sequence r. Head sizes 16, 32, 64 and 128.
/// @return [rows, heads * dim] bf16
at::Tensor decode_attention(const at::Tensor& qkv, const at::Tensor& positions, const Pages& pages);

} // namespace audiobookd::engine::cuda
