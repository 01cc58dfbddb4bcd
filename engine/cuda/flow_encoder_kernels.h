// Kernels of the flow encoder in bf16: windows of convolutions over packed sequences, norms of the residual stream, and
// attention with relative positions.
//
// Every function launches on @p stream and returns at once. Pointers are device memory, matrices row-major and
// contiguous. A row's result depends on its own sequence only, to the bit. Throws c10::Error when a launch fails.
#pragma once

#include "engine/cuda/flow_kernels.h"

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::cuda {

/// Widest row that encoder_norm() takes.
inline constexpr int max_encoder_size = 512;
/// Size of an attention head.
inline constexpr int encoder_head_size = 64;

/// Which rows a convolution sees: row n's window is rows n + first_tap … n + first_tap + taps - 1.
struct WindowShape {
  int first_tap;
  int taps;
  float slope; ///< of the leaky rectifier that the rows pass first; 1 leaves them as they are
};

/// Where a packed row is in its sequence.
struct RowPlace {
  int before; ///< rows of the sequence before this one
  int after;  ///< and after it
};

/// The rows of every window side by side, zeros where they are not in the row's own sequence.
/// @param x bf16 or fp32 [rows, columns], columns a multiple of 8. @param places [rows].
/// @param out bf16 [rows, taps * columns]
void sequence_windows(const __nv_bfloat16* x, const RowPlace* places, const WindowShape& shape, __nv_bfloat16* out,
                      std::int64_t rows, int columns, cudaStream_t stream);
void sequence_windows(const float* x, const RowPlace* places, const WindowShape& shape, __nv_bfloat16* out,
                      std::int64_t rows, int columns, cudaStream_t stream);

/// residual += delta, unless that is null; out = LayerNorm(residual).
/// @param residual fp32 [rows, size], size a multiple of 8, at most max_encoder_size. @param delta bf16 [rows, size].
/// @param out bf16 [rows, size].
void encoder_norm(float* residual, const __nv_bfloat16* delta, NormWeights norm, float epsilon, __nv_bfloat16* out,
                  std::int64_t rows, int size, cudaStream_t stream);

/// What attention knows of the distance from query to key. Row capacity - 1 - i + j belongs to query i and key j of a
/// sequence.
struct RelativePositions {
  const __nv_bfloat16* table; ///< [2 * capacity, heads * 64]
  const float* scores;        ///< [heads, 2 * capacity]: what does not depend on the query
  int capacity;               ///< even, at least the longest sequence's length + position_margin
};
/// Distances beyond the longest sequence's that tiles reach.
inline constexpr int position_margin = 128;

/// Packed sequences for attention.
struct PackedSequences {
  const int* starts; ///< [count + 1] cumulative lengths
  int count;
  int longest;
};

/// Attention of each sequence to itself: score (q k + q p[i - j] + s[i - j]) / 8, p and s of @p positions, heads of 64.
/// (Dai et al. 2019 in the form of ESPnet, the content bias u added to q, and s = (v - u) p of the position bias v.)
/// @param qkv [rows, 3 * heads * 64]: queries, keys, values. @param out [rows, heads * 64]
void relative_attention(const __nv_bfloat16* qkv, const RelativePositions& positions, const PackedSequences& sequences,
                        int heads, __nv_bfloat16* out, cudaStream_t stream);

} // namespace audiobookd::engine::cuda
