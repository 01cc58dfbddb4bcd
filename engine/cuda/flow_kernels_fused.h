// Fused kernels of the flow estimator for its published width: 256 channels, 8 heads of 64, feed-forward 1024.
//
// One thread block carries 128 rows through a chain of matrix products whose intermediate results never leave the chip:
// a residual block with the first attention's projections, or a whole transformer block from the attention's result to
// the next attention's projections. The residual stream lives in fp32 registers meanwhile. Hopper only (sm_90a).
//
// A LayerNorm's scale and shift before a product belong to the product's weights and bias (fold_norm()): the kernels
// only centre and scale by the deviation.
//
// The products of transformer blocks (`Operand`) are bf16, or e4m3 on both sides: faster and less exact. A matrix of
// weights then has one factor, and so has what it is multiplied with, chosen when weights are converted so that no
// input can leave the format's range (Fp8Factors). Finer factors would change little: e4m3 has three bits of mantissa
// whatever a value's size, over 15 powers of two.
//
// Every function launches on @p stream and returns at once; all pointers are device memory, matrices row-major and
// contiguous. Weights come from pack_weights() and pack_weights_e4m3(). Throws c10::Error when a launch fails.
#pragma once

#include "engine/cuda/flow_kernels.h"

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::cuda {

inline constexpr int fused_channels = 256;
inline constexpr int fused_inner = 512; ///< heads * head size
inline constexpr int fused_feed_forward = 1024;

/// Largest value of e4m3.
inline constexpr float fp8_limit = 448;
/// What rows are multiplied by after LayerNorm without scale and shift. Such a row has a norm of sqrt(256), so none of
/// its values is beyond 16.
inline constexpr float fp8_norm_scale = 16;

/// What products in e4m3 are multiplied by, beside 1 in bf16. All are powers of two.
struct Fp8Factors {
  float out;            ///< the output projection
  float widen;          ///< the first feed-forward layer
  float half_hidden;    ///< half of what its GELU is multiplied by to be e4m3
  float narrow;         ///< the second feed-forward layer
  float projections[3]; ///< queries, keys and values, without their bias, which has been divided by it
};

/// A bf16 matrix [rows, columns]; columns a multiple of 64.
struct Rows {
  const __nv_bfloat16* data;
  int columns;
};

/// Causal convolution of three taps, then Mish(LayerNorm(· + bias)) + addend where @p norm is given, · + bias
/// elsewhere.
struct FusedConvolution {
  const __nv_bfloat16* weights; ///< pack_weights([256, 3 * columns], 256)
  const float* bias;            ///< [256]
  NormWeights norm;             ///< null weights: no norm and no Mish
  const float* addend;          ///< [256]; read only where there is a norm
};

/// @param positions [rows], a row's place in its sequence. @param out bf16 [rows, 256]
void fused_convolution(const FusedConvolution& layer, const Rows& x, const int* positions, __nv_bfloat16* out, int rows,
                       cudaStream_t stream);

/// Second half of a residual block and the projections of the attention that follows.
template <class Operand>
struct FusedEntrance {
  /// Packed in tiles of 256: convolution and shortcut in bf16, query-key-value weights as operands.
  const void* weights;
  const float* bias; ///< of the convolution
  NormWeights norm;
  const float* shortcut_bias;
  const float* projection_bias; ///< [1536]
  Fp8Factors factors{};         ///< those of projections
};

/// The residual stream between these kernels lies in the order in which their threads hold it, so that they move whole
/// lines: [tiles of 128 rows, 8 warps, 32 column blocks, 8 rows, 4 column pairs, 2 row halves, 2], where row half h is
/// row 8 h further down in the warp's 16 rows.
/// @return its size in floats
constexpr std::int64_t fused_residual_size(std::int64_t rows) { return (rows + 127) / 128 * 128 * fused_channels; }

/// residual = Mish(LayerNorm(conv(y))) + shortcut(x); qkv = normalised residual times Wqkv.
/// @param y [rows, 256]. @param x [rows, columns]. @param residual fp32 [fused_residual_size(rows)].
/// @param qkv bf16 [rows, 1536]
/// @tparam Operand __nv_bfloat16 or __nv_fp8_e4m3
template <class Operand>
void fused_entrance(const FusedEntrance<Operand>& layer, const Rows& y, const Rows& x, const int* positions,
                    float* residual, __nv_bfloat16* qkv, int rows, cudaStream_t stream);

/// A transformer block after its attention.
template <class Operand>
struct FusedBlock {
  /// Packed: output projection (tiles of 256); both feed-forward layers by turns, for 128 hidden columns each (tiles of
  /// 128 and of 256); the next query-key-value weights (of 256).
  const Operand* weights;
  const float* out_bias;
  const float* widen_bias;
  const float* narrow_bias;
  const float* projection_bias; ///< [1536]; null: this is the last block of its stage
  Fp8Factors factors{};
};

/// residual += attended Wo + bo; residual += feed_forward(normalised residual); out = normalised residual times
/// Wqkv, or the residual itself after the last block of a stage.
/// @param attended [rows, 512], in e4m3 in the order of pack_weights_e4m3().
/// @param residual fp32 [fused_residual_size(rows)]; left as it was after the last block.
/// @param out bf16 [rows, 1536], or [rows, 256] after the last block
/// @tparam Operand __nv_bfloat16 or __nv_fp8_e4m3
template <class Operand>
void fused_block(const FusedBlock<Operand>& layer, const Operand* attended, float* residual, __nv_bfloat16* out,
                 int rows, cudaStream_t stream);

} // namespace audiobookd::engine::cuda
