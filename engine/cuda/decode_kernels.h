// Kernels of the batched CUDA decoder: bf16 weights and cache, fp32 residual stream and norms.
//
// Every function launches on the current stream and returns at once. A row's result depends on that row alone: all
// sums have a fixed order. Tests compare each with ATen in fp32.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::cuda {

/// What the rows of one step begin with.
struct StepRows {
  at::Tensor residual;  // [rows, hidden] fp32: embedding of the token and of its speech position
  at::Tensor positions; // [rows] int32: where in the cache the row writes; negative: the row is parked
};

/// Gathers the inputs of a step. Row r belongs to sequence sequences[r] of the batch.
/// @param embedding [vocab, hidden] fp32. @param position_embedding [positions, hidden] fp32.
/// @param sequences [rows] int32. @param tokens, speech_positions [sequences] int64. @param positions [sequences]
/// int32.
StepRows embed_step(const at::Tensor& embedding, const at::Tensor& position_embedding, const at::Tensor& sequences,
                    const at::Tensor& tokens, const at::Tensor& speech_positions, const at::Tensor& positions);

/// rms_norm(residual) * weight in bf16. @param residual [rows, n] fp32. @param weight [n] fp32. @return [rows, n]
at::Tensor rms_norm(const at::Tensor& residual, const at::Tensor& weight, double eps);

/// SwiGLU: silu(gate) * up, computed in fp32. @param gate_up [rows, 2 n] bf16, gate first. @return [rows, n] bf16
at::Tensor silu_mul(const at::Tensor& gate_up);

/// Where rows keep their keys and values: pages [num_pages, num_heads, page_size, head_dim] of one layer, in bf16 or
/// Float8_e4m3fn.
/// A sequence begins with positions that it may share with others, to the position: they fill pages from the first
/// position on, the sequence's own positions fill the pages after those from their first position on.
struct Pages {
  at::Tensor keys;
  at::Tensor values;
  at::Tensor block_table; // [sequences, max_pages] int32: shared pages, then own ones
  at::Tensor shared;      // [sequences] int32: how many positions lie in shared pages
  at::Tensor exponents{}; // of 8 bits alone: see KvCache::exponents()
};

/// Rotates queries and keys of @p qkv in place and writes keys and values to the cache; parked rows are left alone.
/// @param qkv [rows, 3 * heads * dim] bf16. @param cos_sin [max_positions, dim] fp32.
/// @param positions [rows] int32. @param sequences [rows] int32: the row of block_table that holds the pages.
void rope_append(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions, const at::Tensor& sequences,
                 Pages& pages);

/// Rotates the query and key of one new position a row, writes its key and value to the cache and attends over the
/// positions 0..position.
/// @param qkv [rows, 3 * heads * dim] bf16. @param cos_sin, positions, sequences as for rope_append(). Head sizes 16,
/// 32, 64 and 128. @return [rows, heads * dim] bf16; undefined values for parked rows
at::Tensor decode_attention(const at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions,
                            const at::Tensor& sequences, Pages& pages);

/// Keys and values of cached positions, laid flat.
struct FlatKeysValues {
  at::Tensor keys;   // [count, heads, dim] bf16
  at::Tensor values; // same
};

/// @param positions, sequences [count] int32: which ones.
FlatKeysValues gather_pages(const Pages& pages, const at::Tensor& positions, const at::Tensor& sequences);

} // namespace audiobookd::engine::cuda
