// Element-wise kernels of the flow in bf16: norms, activations, convolution windows and the guided Euler step.
//
// Every function launches on @p stream and returns at once. Pointers are device memory, matrices row-major and
// contiguous; `channels` is a multiple of 8 and at most max_channels. Statistics and sums are fp32, one warp a row, so
// a row's result depends on nothing but that row. Null pointers mean "absent" where the comment says so. Each throws
// c10::Error when the launch fails.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::cuda {

/// Of a row that one warp keeps in registers.
inline constexpr int max_channels = 256;
/// All LayerNorms of the flow estimator.
inline constexpr float flow_norm_epsilon = 1e-5F;

/// Scale and shift of a LayerNorm, fp32 [channels] each.
struct NormWeights {
  const float* weight;
  const float* bias;
};

/// residual += delta + delta_bias (unless delta is null), out = LayerNorm(residual).
/// @param residual fp32 [rows, channels]. @param delta bf16 [rows, channels] or null. @param out bf16.
void add_layer_norm(float* residual, const __nv_bfloat16* delta, const float* delta_bias, NormWeights norm,
                    __nv_bfloat16* out, std::int64_t rows, int channels, cudaStream_t stream);

/// out = residual + delta + delta_bias in bf16.
void add_and_round(const float* residual, const __nv_bfloat16* delta, const float* delta_bias, __nv_bfloat16* out,
                   std::int64_t rows, int channels, cudaStream_t stream);

/// Mish(LayerNorm(x + x_bias)) + addend, the end of a convolution block. @param addend fp32 [channels], the same for
/// every row, or null. @param out bf16 [rows, channels].
void norm_mish(const __nv_bfloat16* x, const float* x_bias, NormWeights norm, const float* addend, __nv_bfloat16* out,
               std::int64_t rows, int channels, cudaStream_t stream);

/// Mish(LayerNorm(x + x_bias)) + shortcut + shortcut_bias, the end of a residual block.
/// @param shortcut bf16 [rows, channels]. @param out fp32 [rows, channels].
void norm_mish_shortcut(const __nv_bfloat16* x, const float* x_bias, NormWeights norm, const __nv_bfloat16* shortcut,
                        const float* shortcut_bias, float* out, std::int64_t rows, int channels, cudaStream_t stream);

/// x = GELU(x + bias) with the exact (erf) form. @param x bf16 [rows, columns], columns a multiple of 8.
void add_bias_gelu(__nv_bfloat16* x, const float* bias, std::int64_t rows, int columns, cudaStream_t stream);

/// The windows of a causal convolution of three taps: row n of out is rows n - 2, n - 1, n of x side by side, zeros
/// where they lie before n's sequence. @param x bf16 [rows, columns], columns any multiple of 8.
/// @param positions [rows], a row's place in its sequence. @param out bf16 [rows, 3 * columns].
void causal_windows(const __nv_bfloat16* x, const int* positions, __nv_bfloat16* out, std::int64_t rows, int columns,
                    cudaStream_t stream);

/// What one Euler step with classifier-free guidance needs.
struct EulerStep {
  float size;         ///< of the step
  float guidance;     ///< w in (1 + w) conditional - w unconditional
  int mel_channels;   ///< of x and of the directions
  int input_channels; ///< of the estimator's input, whose first mel_channels are x
};

/// x += size * ((1 + w) conditional - w unconditional + bias), and x into the estimator's next input.
/// @param x fp32 [frames, mel_channels]. @param directions fp32 [2 * frames, mel_channels]: all conditional rows, then
/// all unconditional ones, without the bias of their last layer; null for the first call, which only fills the input.
/// @param bias fp32 [mel_channels]. @param input bf16 [2 * frames, input_channels].
void euler_step(float* x, const float* directions, const float* bias, __nv_bfloat16* input, std::int64_t frames,
                const EulerStep& step, cudaStream_t stream);

} // namespace audiobookd::engine::cuda
