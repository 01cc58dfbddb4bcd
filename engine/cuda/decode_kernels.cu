#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/decode_kernels.h"
#include "engine/cuda/page_list.cuh"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

// ---------------------------------------------------------------------------------------------- element-wise work

__global__ void embed_step_kernel(const float* embedding, const float* position_embedding, const int* sequences,
                                  const std::int64_t* tokens, const std::int64_t* speech_positions,
                                  const int* positions, float* residual, int* row_positions, int n) {
  const int row = blockIdx.x;
  const int sequence = sequences[row];
  const float* const token = embedding + static_cast<std::size_t>(tokens[sequence]) * n;
  const float* const position = position_embedding + static_cast<std::size_t>(speech_positions[sequence]) * n;
  for (int i = 8 * threadIdx.x; i < n; i += 8 * blockDim.x) {
    Float8 x = load8(token + i);
    const Float8 p = load8(position + i);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      x.at[k] += p.at[k];
    }
    store8(residual + static_cast<std::size_t>(row) * n + i, x);
  }
  if (threadIdx.x == 0) {
    row_positions[row] = positions[sequence];
  }
}

constexpr int norm_threads = 128;
constexpr int norm_most = 4; // groups of eight values that a thread keeps: rows of up to 4096

/// One block a row; a thread keeps its values, eight neighbouring ones at a time.
__global__ void __launch_bounds__(norm_threads)
    rms_norm_kernel(const float* residual, const float* weight, __nv_bfloat16* out, int n, float eps) {
  __shared__ float scratch[norm_threads / warp_size];
  const std::size_t begin = static_cast<std::size_t>(blockIdx.x) * n;
  Float8 x[norm_most];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < norm_most; ++j) {
    const int i = 8 * (threadIdx.x + j * norm_threads);
    if (i < n) {
      x[j] = load8(residual + begin + i);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        sum += x[j].at[k] * x[j].at[k];
      }
    }
  }
  const float scale = rsqrtf(block_sum<norm_threads>(sum, scratch) / static_cast<float>(n) + eps);
#pragma unroll
  for (int j = 0; j < norm_most; ++j) {
    const int i = 8 * (threadIdx.x + j * norm_threads);
    if (i < n) {
      const Float8 w = load8(weight + i);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        x[j].at[k] *= scale * w.at[k];
      }
      store8(out + begin + i, x[j]);
    }
  }
}

/// A thread computes eight neighbouring values. @param n of a row, a multiple of 8. @param total of all rows
__global__ void silu_mul_kernel(const __nv_bfloat16* gate_up, __nv_bfloat16* out, int n, std::int64_t total) {
  const std::int64_t i = 8 * (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
  if (i >= total) {
    return;
  }
  const std::int64_t row = i / n;
  const __nv_bfloat16* const gate = gate_up + row * 2 * n + i % n;
  Float8 x = load8(gate);
  const Float8 up = load8(gate + n);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    x.at[k] = x.at[k] / (1.0f + __expf(-x.at[k])) * up.at[k];
  }
  store8(out + i, x);
}

/// The largest over the threads, neighbours in a warp, that hold a head together. @param threads a power of two
__device__ float largest_of_head(float x, int threads) {
  const unsigned lane = threadIdx.x % warp_size;
  const unsigned together = (threads == warp_size ? full_mask : (1U << threads) - 1) << (lane & ~(threads - 1U));
  for (int offset = threads / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(together, x, offset));
  }
  return x;
}

template <typename Element>
__global__ void rope_append_kernel(__nv_bfloat16* qkv, const float* cos_sin, const int* positions, const int* sequences,
                                   const int* block_table, const int* shared, Cache<Element> cache, Layout layout) {
  const int row = blockIdx.x;
  const int half = layout.head_dim / 2;
  const int hidden = layout.num_heads * layout.head_dim;
  const int position = positions[row];
  if (position < 0) {
    return;
  }
  const PageList list(block_table, shared, sequences[row], layout.max_pages);
  const float* const table = cos_sin + static_cast<std::size_t>(position) * layout.head_dim;
  for (int i = 8 * threadIdx.x; i < layout.num_heads * half; i += 8 * blockDim.x) { // eight pairs a thread
    const int head = i / half;
    const int dim = i % half;
    const Float8 cosines = load8(table + dim);
    const Float8 sines = load8(table + dim + half);
    __nv_bfloat16* const q = qkv + static_cast<std::size_t>(row) * 3 * hidden + head * layout.head_dim + dim;
    const std::size_t at = list.at(position, head, layout);
    const auto append = [&](Element* to, const Float8& low, const Float8& high, int exponent) {
      float largest = 0;
      if constexpr (is_scaled<Element>) {
        largest = largest_of_head(fmaxf(largest_of(low), largest_of(high)), half / 8);
      }
      const Rounding<Element> rounding(largest);
      store8(to + at + dim, rounding.down(low));
      store8(to + at + dim + half, rounding.down(high));
      if (is_scaled<Element> && dim == 0) {
        cache.exponent_at(at, layout.head_dim)[exponent] = static_cast<std::uint8_t>(rounding.exponent);
      }
    };
    for (int part = 0; part < 2; ++part) { // queries, keys
      __nv_bfloat16* const x = q + part * hidden;
      Float8 low = load8(x);
      Float8 high = load8(x + half);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float first = low.at[k];
        low.at[k] = first * cosines.at[k] - high.at[k] * sines.at[k];
        high.at[k] = high.at[k] * cosines.at[k] + first * sines.at[k];
      }
      store8(x, low);
      store8(x + half, high);
      if (part == 1) {
        append(cache.keys, low, high, 0);
      }
    }
    append(cache.values, load8(q + 2 * hidden), load8(q + 2 * hidden + half), page_size);
  }
}

// ---------------------------------------------------------------------------------------------------------- prompts

/// A block copies one position of all heads.
template <typename Element>
__global__ void gather_pages_kernel(Cache<Element> cache, const int* positions, const int* sequences,
                                    const int* block_table, const int* shared, __nv_bfloat16* flat_keys,
                                    __nv_bfloat16* flat_values, Layout layout) {
  const PageList list(block_table, shared, sequences[blockIdx.x], layout.max_pages);
  const int position = positions[blockIdx.x];
  const int hidden = layout.num_heads * layout.head_dim;
  for (int i = 8 * threadIdx.x; i < hidden; i += 8 * blockDim.x) {
    const std::size_t head = list.at(position, i / layout.head_dim, layout);
    const std::size_t from = head + i % layout.head_dim;
    const std::size_t to = static_cast<std::size_t>(blockIdx.x) * hidden + i;
    const std::uint8_t* const exponents = is_scaled<Element> ? cache.exponent_at(head, layout.head_dim) : nullptr;
    store8(flat_keys + to, times(load8(cache.keys + from), scale_at<Element>(exponents, 0)));
    store8(flat_values + to, times(load8(cache.values + from), scale_at<Element>(exponents, page_size)));
  }
}

} // namespace

StepRows embed_step(const at::Tensor& embedding, const at::Tensor& position_embedding, const at::Tensor& sequences,
                    const at::Tensor& tokens, const at::Tensor& speech_positions, const at::Tensor& positions) {
  const std::int64_t rows = sequences.size(0);
  const std::int64_t n = embedding.size(1);
  TORCH_CHECK(n % 8 == 0, "embed_step: width ", n, " is not a multiple of 8");
  StepRows step{at::empty({rows, n}, embedding.options()), at::empty({rows}, sequences.options())};
  embed_step_kernel<<<static_cast<unsigned>(rows), 128, 0, at::cuda::getCurrentCUDAStream()>>>(
      embedding.const_data_ptr<float>(), position_embedding.const_data_ptr<float>(), sequences.const_data_ptr<int>(),
      tokens.const_data_ptr<std::int64_t>(), speech_positions.const_data_ptr<std::int64_t>(),
      positions.const_data_ptr<int>(), step.residual.data_ptr<float>(), step.positions.data_ptr<int>(),
      static_cast<int>(n));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return step;
}

at::Tensor rms_norm(const at::Tensor& residual, const at::Tensor& weight, double eps) {
  const std::int64_t n = residual.size(1);
  TORCH_CHECK(n % 8 == 0 && n <= 8 * norm_most * norm_threads, "rms_norm: width ", n,
              " (a multiple of 8, at most 4096)");
  at::Tensor out = at::empty(residual.sizes(), residual.options().dtype(at::kBFloat16));
  rms_norm_kernel<<<static_cast<unsigned>(residual.size(0)), norm_threads, 0, at::cuda::getCurrentCUDAStream()>>>(
      residual.const_data_ptr<float>(), weight.const_data_ptr<float>(), bf16(out), static_cast<int>(n),
      static_cast<float>(eps));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

at::Tensor silu_mul(const at::Tensor& gate_up) {
  const std::int64_t n = gate_up.size(1) / 2;
  at::Tensor out = at::empty({gate_up.size(0), n}, gate_up.options());
  TORCH_CHECK(n % 8 == 0, "silu_mul: width ", n, " is not a multiple of 8");
  constexpr int per_block = 8 * 256;
  silu_mul_kernel<<<static_cast<unsigned>((out.numel() + per_block - 1) / per_block), 256, 0,
                    at::cuda::getCurrentCUDAStream()>>>(bf16(gate_up), bf16(out), static_cast<int>(n), out.numel());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

void rope_append(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions, const at::Tensor& sequences,
                 Pages& pages) {
  TORCH_CHECK(pages.keys.size(3) % 16 == 0, "rope_append: head size ", pages.keys.size(3), " is not a multiple of 16");
  for_element_of(pages, [&](auto element) {
    rope_append_kernel<<<static_cast<unsigned>(qkv.size(0)), 64, 0, at::cuda::getCurrentCUDAStream()>>>(
        bf16(qkv), cos_sin.const_data_ptr<float>(), positions.const_data_ptr<int>(), sequences.const_data_ptr<int>(),
        pages.block_table.const_data_ptr<int>(), pages.shared.const_data_ptr<int>(), cache_of<decltype(element)>(pages),
        layout_of(pages));
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

FlatKeysValues gather_pages(const Pages& pages, const at::Tensor& positions, const at::Tensor& sequences) {
  const Layout layout = layout_of(pages);
  const std::int64_t count = positions.size(0);
  FlatKeysValues flat;
  flat.keys = at::empty({count, layout.num_heads, layout.head_dim}, pages.keys.options().dtype(at::kBFloat16));
  flat.values = at::empty_like(flat.keys);
  for_element_of(pages, [&](auto element) {
    gather_pages_kernel<<<static_cast<unsigned>(count), 128, 0, at::cuda::getCurrentCUDAStream()>>>(
        cache_of<decltype(element)>(pages), positions.const_data_ptr<int>(), sequences.const_data_ptr<int>(),
        pages.block_table.const_data_ptr<int>(), pages.shared.const_data_ptr<int>(), bf16(flat.keys), bf16(flat.values),
        layout);
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return flat;
}

} // namespace audiobookd::engine::cuda
