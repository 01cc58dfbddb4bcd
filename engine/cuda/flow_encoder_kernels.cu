#include "engine/cuda/bf16_vector.cuh"
#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/flow_encoder_kernels.h"

#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int threads_per_block = 256;
constexpr int rows_per_block = threads_per_block / warp_size;
constexpr int part_columns = 8 * warp_size; // of a row that a warp takes at a time
constexpr int parts = max_encoder_size / part_columns;

unsigned blocks_for(std::int64_t count, std::int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

/// A thread makes eight columns of one tap.
template <class In>
__global__ void sequence_windows_kernel(const In* x, const RowPlace* places, WindowShape shape, __nv_bfloat16* out,
                                        std::int64_t count, int columns) {
  const std::int64_t at = 8 * (std::int64_t{blockIdx.x} * threads_per_block + threadIdx.x);
  if (at >= count) {
    return;
  }
  const int width = shape.taps * columns;
  const std::int64_t row = at / width;
  const int within = static_cast<int>(at % width);
  const int offset = shape.first_tap + within / columns;
  const RowPlace place = places[row];
  Float8 value{};
  if (-place.before <= offset && offset <= place.after) {
    value = load8(x + (row + offset) * columns + within % columns);
#pragma unroll
    for (float& v : value.at) {
      v = v > 0 ? v : v * shape.slope;
    }
  }
  store8(out + at, value);
}

/// One warp a row, which stays in registers: two passes over it.
__global__ void __launch_bounds__(threads_per_block)
    encoder_norm_kernel(float* residual, const __nv_bfloat16* delta, NormWeights norm, float epsilon,
                        __nv_bfloat16* out, std::int64_t rows, int size) {
  const std::int64_t row = std::int64_t{blockIdx.x} * rows_per_block + threadIdx.x / warp_size;
  if (row >= rows) {
    return;
  }
  const int first = 8 * (static_cast<int>(threadIdx.x) % warp_size);
  Float8 x[parts] = {};
  float sum = 0;
#pragma unroll
  for (int part = 0; part < parts; ++part) {
    const int column = first + part * part_columns;
    if (column < size) {
      float* const own = residual + row * size + column;
      x[part] = load8(own);
      if (delta != nullptr) {
        const Float8 more = load8(delta + row * size + column);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x[part].at[i] += more.at[i];
        }
        store8(own, x[part]);
      }
    }
#pragma unroll
    for (const float v : x[part].at) {
      sum += v;
    }
  }
  const float mean = warp_sum(sum) / static_cast<float>(size);
  float squares = 0;
#pragma unroll
  for (int part = 0; part < parts; ++part) {
    const bool inside = first + part * part_columns < size;
#pragma unroll
    for (float& v : x[part].at) {
      v = inside ? v - mean : 0.0f;
      squares += v * v;
    }
  }
  const float scale = rsqrtf(warp_sum(squares) / static_cast<float>(size) + epsilon);
#pragma unroll
  for (int part = 0; part < parts; ++part) {
    const int column = first + part * part_columns;
    if (column < size) {
      const Float8 weight = load8(norm.weight + column);
      const Float8 bias = load8(norm.bias + column);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        x[part].at[i] = x[part].at[i] * scale * weight.at[i] + bias.at[i];
      }
      store8(out + row * size + column, x[part]);
    }
  }
}

template <class In>
void launch_windows(const In* x, const RowPlace* places, const WindowShape& shape, __nv_bfloat16* out,
                    std::int64_t rows, int columns, cudaStream_t stream) {
  const std::int64_t count = rows * shape.taps * columns;
  sequence_windows_kernel<<<blocks_for(count, 8 * threads_per_block), threads_per_block, 0, stream>>>(
      x, places, shape, out, count, columns);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace

void sequence_windows(const __nv_bfloat16* x, const RowPlace* places, const WindowShape& shape, __nv_bfloat16* out,
                      std::int64_t rows, int columns, cudaStream_t stream) {
  launch_windows(x, places, shape, out, rows, columns, stream);
}

void sequence_windows(const float* x, const RowPlace* places, const WindowShape& shape, __nv_bfloat16* out,
                      std::int64_t rows, int columns, cudaStream_t stream) {
  launch_windows(x, places, shape, out, rows, columns, stream);
}

void encoder_norm(float* residual, const __nv_bfloat16* delta, NormWeights norm, float epsilon, __nv_bfloat16* out,
                  std::int64_t rows, int size, cudaStream_t stream) {
  encoder_norm_kernel<<<blocks_for(rows, rows_per_block), threads_per_block, 0, stream>>>(residual, delta, norm,
                                                                                          epsilon, out, rows, size);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
