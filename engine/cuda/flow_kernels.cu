#include "engine/cuda/bf16_vector.cuh"
#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/flow_kernels.h"

#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int threads_per_block = 256;
constexpr int rows_per_block = threads_per_block / warp_size;

unsigned blocks_for(std::int64_t count, std::int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

/// The eight values that a lane holds of its warp's row; lanes past the row hold zeros.
struct RowPart {
  std::int64_t row;
  int channel; // first of the eight
  bool inside;
};

__device__ RowPart row_part(int channels) {
  const std::int64_t row = std::int64_t{blockIdx.x} * rows_per_block + threadIdx.x / warp_size;
  const int channel = 8 * (static_cast<int>(threadIdx.x) % warp_size);
  return {row, channel, channel < channels};
}

__device__ void add8(Float8& x, const Float8& y) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x.at[i] += y.at[i];
  }
}

/// LayerNorm over a warp's row, two passes over registers.
__device__ void normalise(Float8& x, const RowPart& part, const NormWeights& norm, int channels) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    sum += x.at[i];
  }
  const float mean = warp_sum(sum) / static_cast<float>(channels);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x.at[i] = part.inside ? x.at[i] - mean : 0.0f;
    squares += x.at[i] * x.at[i];
  }
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(channels) + flow_norm_epsilon);
  if (part.inside) {
    const Float8 weight = load8(norm.weight + part.channel);
    const Float8 bias = load8(norm.bias + part.channel);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.at[i] = x.at[i] * scale * weight.at[i] + bias.at[i];
    }
  }
}

/// x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2).
__device__ float mish(float x) {
  if (x > 20.0f) {
    return x;
  }
  const float e = __expf(x);
  const float n = e * (e + 2.0f);
  return x * __fdividef(n, n + 2.0f);
}

__global__ void __launch_bounds__(threads_per_block)
    add_layer_norm_kernel(float* residual, const __nv_bfloat16* delta, const float* delta_bias, NormWeights norm,
                          __nv_bfloat16* out, std::int64_t rows, int channels) {
  const RowPart part = row_part(channels);
  if (part.row >= rows) {
    return;
  }
  const std::int64_t at = part.row * channels + part.channel;
  Float8 x{};
  if (part.inside) {
    x = load8(residual + at);
    if (delta != nullptr) {
      add8(x, load8(delta + at));
      add8(x, load8(delta_bias + part.channel));
      store8(residual + at, x);
    }
  }
  normalise(x, part, norm, channels);
  if (part.inside) {
    store8(out + at, x);
  }
}

__global__ void add_and_round_kernel(const float* residual, const __nv_bfloat16* delta, const float* delta_bias,
                                     __nv_bfloat16* out, std::int64_t count, int channels) {
  const std::int64_t at = 8 * (std::int64_t{blockIdx.x} * threads_per_block + threadIdx.x);
  if (at >= count) {
    return;
  }
  Float8 x = load8(residual + at);
  add8(x, load8(delta + at));
  add8(x, load8(delta_bias + at % channels));
  store8(out + at, x);
}

__device__ Float8 norm_mish_row(const __nv_bfloat16* x, const float* x_bias, const NormWeights& norm,
                                const RowPart& part, int channels) {
  Float8 y{};
  if (part.inside) {
    y = load8(x + part.row * channels + part.channel);
    add8(y, load8(x_bias + part.channel));
  }
  normalise(y, part, norm, channels);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    y.at[i] = mish(y.at[i]);
  }
  return y;
}

__global__ void __launch_bounds__(threads_per_block)
    norm_mish_kernel(const __nv_bfloat16* x, const float* x_bias, NormWeights norm, const float* addend,
                     __nv_bfloat16* out, std::int64_t rows, int channels) {
  const RowPart part = row_part(channels);
  if (part.row >= rows) {
    return;
  }
  Float8 y = norm_mish_row(x, x_bias, norm, part, channels);
  if (part.inside) {
    if (addend != nullptr) {
      add8(y, load8(addend + part.channel));
    }
    store8(out + part.row * channels + part.channel, y);
  }
}

__global__ void __launch_bounds__(threads_per_block)
    norm_mish_shortcut_kernel(const __nv_bfloat16* x, const float* x_bias, NormWeights norm,
                              const __nv_bfloat16* shortcut, const float* shortcut_bias, float* out, std::int64_t rows,
                              int channels) {
  const RowPart part = row_part(channels);
  if (part.row >= rows) {
    return;
  }
  Float8 y = norm_mish_row(x, x_bias, norm, part, channels);
  if (part.inside) {
    const std::int64_t at = part.row * channels + part.channel;
    add8(y, load8(shortcut + at));
    add8(y, load8(shortcut_bias + part.channel));
    store8(out + at, y);
  }
}

__global__ void add_bias_gelu_kernel(__nv_bfloat16* x, const float* bias, std::int64_t count, int columns) {
  const std::int64_t at = 8 * (std::int64_t{blockIdx.x} * threads_per_block + threadIdx.x);
  if (at >= count) {
    return;
  }
  Float8 y = load8(x + at);
  add8(y, load8(bias + at % columns));
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    y.at[i] = 0.5f * y.at[i] * (1.0f + erff(y.at[i] * 0.70710678118654752f));
  }
  store8(x + at, y);
}

/// A thread moves eight channels of one tap.
__global__ void causal_windows_kernel(const __nv_bfloat16* x, const int* positions, __nv_bfloat16* out,
                                      std::int64_t count, int columns) {
  const std::int64_t at = 8 * (std::int64_t{blockIdx.x} * threads_per_block + threadIdx.x);
  if (at >= count) {
    return;
  }
  const std::int64_t row = at / (3 * columns);
  const int within = static_cast<int>(at % (3 * columns));
  const int back = 2 - within / columns;
  Bf16x8 value{};
  if (positions[row] >= back) {
    value = *reinterpret_cast<const Bf16x8*>(x + (row - back) * columns + within % columns);
  }
  *reinterpret_cast<Bf16x8*>(out + at) = value;
}

__global__ void euler_step_kernel(float* x, const float* directions, const float* bias, __nv_bfloat16* input,
                                  std::int64_t frames, EulerStep step) {
  const std::int64_t at = std::int64_t{blockIdx.x} * threads_per_block + threadIdx.x;
  const std::int64_t count = frames * step.mel_channels;
  if (at >= count) {
    return;
  }
  const std::int64_t frame = at / step.mel_channels;
  const int channel = static_cast<int>(at % step.mel_channels);
  float value = x[at];
  if (directions != nullptr) {
    const float guided = (1.0f + step.guidance) * directions[at] - step.guidance * directions[count + at];
    value += step.size * (guided + bias[channel]);
    x[at] = value;
  }
  const __nv_bfloat16 rounded = __float2bfloat16(value);
  input[frame * step.input_channels + channel] = rounded;
  input[(frames + frame) * step.input_channels + channel] = rounded;
}

} // namespace

void add_layer_norm(float* residual, const __nv_bfloat16* delta, const float* delta_bias, NormWeights norm,
                    __nv_bfloat16* out, std::int64_t rows, int channels, cudaStream_t stream) {
  add_layer_norm_kernel<<<blocks_for(rows, rows_per_block), threads_per_block, 0, stream>>>(residual, delta, delta_bias,
                                                                                            norm, out, rows, channels);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void add_and_round(const float* residual, const __nv_bfloat16* delta, const float* delta_bias, __nv_bfloat16* out,
                   std::int64_t rows, int channels, cudaStream_t stream) {
  const std::int64_t count = rows * channels;
  add_and_round_kernel<<<blocks_for(count, 8 * threads_per_block), threads_per_block, 0, stream>>>(
      residual, delta, delta_bias, out, count, channels);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void norm_mish(const __nv_bfloat16* x, const float* x_bias, NormWeights norm, const float* addend, __nv_bfloat16* out,
               std::int64_t rows, int channels, cudaStream_t stream) {
  norm_mish_kernel<<<blocks_for(rows, rows_per_block), threads_per_block, 0, stream>>>(x, x_bias, norm, addend, out,
                                                                                       rows, channels);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void norm_mish_shortcut(const __nv_bfloat16* x, const float* x_bias, NormWeights norm, const __nv_bfloat16* shortcut,
                        const float* shortcut_bias, float* out, std::int64_t rows, int channels, cudaStream_t stream) {
  norm_mish_shortcut_kernel<<<blocks_for(rows, rows_per_block), threads_per_block, 0, stream>>>(
      x, x_bias, norm, shortcut, shortcut_bias, out, rows, channels);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void add_bias_gelu(__nv_bfloat16* x, const float* bias, std::int64_t rows, int columns, cudaStream_t stream) {
  const std::int64_t count = rows * columns;
  add_bias_gelu_kernel<<<blocks_for(count, 8 * threads_per_block), threads_per_block, 0, stream>>>(x, bias, count,
                                                                                                   columns);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void causal_windows(const __nv_bfloat16* x, const int* positions, __nv_bfloat16* out, std::int64_t rows, int columns,
                    cudaStream_t stream) {
  const std::int64_t count = rows * 3 * columns;
  causal_windows_kernel<<<blocks_for(count, 8 * threads_per_block), threads_per_block, 0, stream>>>(x, positions, out,
                                                                                                    count, columns);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void euler_step(float* x, const float* directions, const float* bias, __nv_bfloat16* input, std::int64_t frames,
                const EulerStep& step, cudaStream_t stream) {
  euler_step_kernel<<<blocks_for(frames * step.mel_channels, threads_per_block), threads_per_block, 0, stream>>>(
      x, directions, bias, input, frames, step);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
