// Attention of a decode step. What bounds it is reading the cache: pages come to shared memory by asynchronous copies,
// which take no registers, so that two dozen warps of a multiprocessor have a page on its way each.
#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/decode_kernels.h"
#include "engine/cuda/hopper.cuh"
#include "engine/cuda/page_list.cuh"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <cmath>

namespace audiobookd::engine::cuda {
namespace {

constexpr int attention_warps = 4;

template <typename Element>
struct Arguments {
  const __nv_bfloat16* qkv; // [rows, 3 * heads * dim]
  const float* cos_sin;     // [positions, dim]
  const int *positions, *sequences;
  const int *block_table, *shared;
  Cache<Element> cache;
  __nv_bfloat16* out; // [rows, heads * dim]
  Layout layout;
  float scale;
};

/// The part of a head that a lane holds, rotated: the other value of each pair is `lanes / 2` lanes away.
template <int lanes>
__device__ Float8 rotated(Float8 x, const float* table, int part) {
  constexpr int half = 4 * lanes;
  const float sign = part < lanes / 2 ? -1.0f : 1.0f; // first values of the pairs, second values
  const int dim = 8 * (part % (lanes / 2));
  const Float8 cosines = load8(table + dim);
  const Float8 sines = load8(table + dim + half);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const float other = __shfl_xor_sync(full_mask, x.at[k], lanes / 2);
    x.at[k] = x.at[k] * cosines.at[k] + sign * other * sines.at[k];
  }
  return x;
}

/// Sum over the lanes that hold one head together.
template <int lanes>
__device__ float group_sum(float x) {
#pragma unroll
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(full_mask, x, offset);
  }
  return x;
}

/// Largest over the lanes that hold one head together.
template <int lanes>
__device__ float group_largest(float x) {
#pragma unroll
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(full_mask, x, offset));
  }
  return x;
}

__device__ float dot8(const Float8& a, const Float8& b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    sum = fmaf(a.at[i], b.at[i], sum);
  }
  return sum;
}

/// A warp's part of one head of a row: the query and a running softmax over the pages that the warp sees. `lanes` lanes
/// (a group) share one position, 8 values each; a group sees every (32 / lanes)-th position.
template <int lanes>
struct Row {
  static constexpr int head_dim = 8 * lanes;
  static constexpr int groups = warp_size / lanes;
  static constexpr int unroll = page_size / groups < 8 ? page_size / groups : 8;

  Float8 query;
  Float8 sum{};              // weighted values, of the lane's part of the head
  float largest = -INFINITY; // score; the same in all lanes
  float total = 0;           // of the weights, of the lane's group

  /// @param input where the query begins in qkv, at the lane's part. @param table of the new position
  __device__ Row(const __nv_bfloat16* input, const float* table, float scale, int part)
      : query(rotated<lanes>(load8(input), table, part)) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      query.at[i] *= scale;
    }
  }

  /// Takes the new position, and writes it to the cache. @param at where in it the head keeps the position
  template <typename Element>
  __device__ void append(const __nv_bfloat16* input, const float* table, int hidden, int lane,
                         const Cache<Element>& cache, std::size_t at) {
    const int part = lane % lanes;
    const Float8 key = rotated<lanes>(load8(input + hidden), table, part);
    const Float8 value = load8(input + 2 * hidden);
    const auto rounding_of = [](const Float8& x) {
      float all_largest = 0;
      if constexpr (is_scaled<Element>) {
        all_largest = group_largest<lanes>(largest_of(x));
      }
      return Rounding<Element>(all_largest);
    };
    const Rounding<Element> key_rounding = rounding_of(key);
    const Rounding<Element> value_rounding = rounding_of(value);
    Element* const keys = cache.keys + at + part * 8;
    Element* const values = cache.values + at + part * 8;
    alignas(16) Element stored[8]; // and what it will be read as by later steps
    store8(stored, key_rounding.down(key));
    largest = group_sum<lanes>(dot8(query, key_rounding.up(stored)));
    if (lane < lanes) {
      store8(keys, key_rounding.down(key));
      store8(values, value_rounding.down(value));
      store8(stored, value_rounding.down(value));
      total = 1;
      sum = value_rounding.up(stored);
    }
    if (is_scaled<Element> && lane == 0) {
      std::uint8_t* const exponents = cache.exponent_at(at, head_dim);
      exponents[0] = static_cast<std::uint8_t>(key_rounding.exponent);
      exponents[page_size] = static_cast<std::uint8_t>(value_rounding.exponent);
    }
  }

  /// Takes positions 0..count-1 of a page in shared memory. @param keys, values at the lane's part
  template <typename Element>
  __device__ void attend(const Element* keys, const Element* values, const std::uint8_t* exponents, int count,
                         int group) {
    for (int begin = 0; begin < count; begin += unroll * groups) {
      const auto position_of = [&](int u) { // beyond the end: the last position, of weight 0
        return min(begin + u * groups + group, count - 1);
      };
      float score[unroll];
      float new_largest = largest;
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        const int at = position_of(u);
        const float s = group_sum<lanes>(dot8(query, load8(keys + at * head_dim))) * scale_at<Element>(exponents, at);
        score[u] = begin + u * groups + group < count ? s : -INFINITY;
        new_largest = fmaxf(new_largest, score[u]);
      }
#pragma unroll
      for (int offset = warp_size / 2; offset >= lanes; offset /= 2) {
        new_largest = fmaxf(new_largest, __shfl_xor_sync(full_mask, new_largest, offset));
      }
      const float correction = __expf(largest - new_largest);
      total *= correction;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        sum.at[i] *= correction;
      }
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        const int at = position_of(u);
        const Float8 v = load8(values + at * head_dim);
        const float weight = __expf(score[u] - new_largest);
        total += weight;
        const float scaled = weight * scale_at<Element>(exponents + page_size, at);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          sum.at[i] = fmaf(scaled, v.at[i], sum.at[i]);
        }
      }
      largest = new_largest;
    }
  }

  /// Adds up the groups.
  __device__ void join_groups() {
#pragma unroll
    for (int offset = warp_size / 2; offset >= lanes; offset /= 2) {
      total += __shfl_xor_sync(full_mask, total, offset);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        sum.at[i] += __shfl_xor_sync(full_mask, sum.at[i], offset);
      }
    }
  }
};

/// Adds up what the warps of the block have and writes the head's output.
template <int lanes>
__device__ void join_warps(Row<lanes>& row, __nv_bfloat16* out, int warp, int lane) {
  constexpr int head_dim = Row<lanes>::head_dim;
  __shared__ float largest[attention_warps];
  __shared__ float total[attention_warps];
  __shared__ float sum[attention_warps][head_dim];
  row.join_groups();
  if (lane < lanes) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      sum[warp][lane * 8 + i] = row.sum.at[i];
    }
  }
  if (lane == 0) {
    largest[warp] = row.largest;
    total[warp] = row.total;
  }
  __syncthreads();
  for (int dim = threadIdx.x; dim < head_dim; dim += attention_warps * warp_size) {
    float all_largest = largest[0];
    for (int w = 1; w < attention_warps; ++w) {
      all_largest = fmaxf(all_largest, largest[w]);
    }
    float numerator = 0;
    float denominator = 0;
    for (int w = 0; w < attention_warps; ++w) {
      const float factor = __expf(largest[w] - all_largest);
      numerator += factor * sum[w][dim];
      denominator += factor * total[w];
    }
    out[dim] = __float2bfloat16(numerator / denominator);
  }
}

/// A page of keys and values of one head, sent for by one lane and awaited by the warp.
template <int lanes, typename Element>
struct PageBuffer {
  alignas(128) Element keys[page_size * 8 * lanes];
  alignas(128) Element values[page_size * 8 * lanes];
  alignas(16) std::uint8_t exponents[is_scaled<Element> ? 2 * page_size : 16];
  std::uint64_t barrier;

  /// @param page index of one head's page in the cache
  __device__ void load(const Cache<Element>& cache, std::size_t page, int count) {
    const std::uint32_t bytes = count * 8 * lanes * sizeof(Element);
    barrier_expect(shared_address(&barrier), 2 * bytes + (is_scaled<Element> ? sizeof(exponents) : 0));
    const std::size_t base = page * page_size * 8 * lanes;
    bulk_load(shared_address(keys), cache.keys + base, bytes, shared_address(&barrier));
    bulk_load(shared_address(values), cache.values + base, bytes, shared_address(&barrier));
    if constexpr (is_scaled<Element>) {
      bulk_load(shared_address(exponents), cache.exponents + page * 2 * page_size, sizeof(exponents),
                shared_address(&barrier));
    }
  }
};

/// A block computes one head of one row. Warp w takes pages w, w + 4, …; the next in turn takes the new position.
template <int lanes, typename Element>
__global__ void __launch_bounds__(attention_warps* warp_size) decode_attention_kernel(const Arguments<Element> a) {
  extern __shared__ __align__(128) unsigned char memory[];
  constexpr int head_dim = Row<lanes>::head_dim;
  const int head = blockIdx.x;
  const int row_index = blockIdx.y;
  const int warp = threadIdx.x / warp_size;
  const int lane = threadIdx.x % warp_size;
  const int part = lane % lanes;
  const int position = a.positions[row_index]; // the new one; the cache holds those before it
  if (position < 0) {
    return;
  }
  auto& buffer = reinterpret_cast<PageBuffer<lanes, Element>*>(memory)[warp];
  const PageList list(a.block_table, a.shared, a.sequences[row_index], a.layout.max_pages);
  const int num_pages = list.pages_of(position);
  const auto load = [&](int page) {
    if (lane == 0 && page < num_pages) {
      const auto index = static_cast<std::int64_t>(list.pages[page]) * a.layout.num_heads + head;
      buffer.load(a.cache, static_cast<std::size_t>(index), list.count(page, position));
    }
  };
  if (lane == 0) {
    barrier_init(shared_address(&buffer.barrier), 1);
    barrier_init_fence();
  }
  load(warp);
  __syncwarp();

  const int hidden = a.layout.num_heads * head_dim;
  const __nv_bfloat16* const input =
      a.qkv + static_cast<std::size_t>(row_index) * 3 * hidden + head * head_dim + part * 8;
  const float* const table = a.cos_sin + static_cast<std::size_t>(position) * head_dim;
  Row<lanes> row(input, table, a.scale, part);
  if (warp == num_pages % attention_warps) {
    row.append(input, table, hidden, lane, a.cache, list.at(position, head, a.layout));
  }
  std::uint32_t phase = 0;
  for (int page = warp; page < num_pages; page += attention_warps) {
    barrier_wait(shared_address(&buffer.barrier), phase);
    phase ^= 1;
    row.attend(buffer.keys + part * 8, buffer.values + part * 8, buffer.exponents, list.count(page, position),
               lane / lanes);
    __syncwarp();
    load(page + attention_warps);
  }
  join_warps(row, a.out + static_cast<std::size_t>(row_index) * hidden + head * head_dim, warp, lane);
}

template <int lanes, typename Element>
void launch(const Arguments<Element>& arguments, std::int64_t rows) {
  constexpr int memory = attention_warps * static_cast<int>(sizeof(PageBuffer<lanes, Element>));
  const auto kernel = decode_attention_kernel<lanes, Element>;
  C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory));
  const dim3 grid(static_cast<unsigned>(arguments.layout.num_heads), static_cast<unsigned>(rows));
  kernel<<<grid, attention_warps * warp_size, memory, at::cuda::getCurrentCUDAStream()>>>(arguments);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace

at::Tensor decode_attention(const at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions,
                            const at::Tensor& sequences, Pages& pages) {
  const std::int64_t dim = pages.keys.size(3);
  at::Tensor out = at::empty({qkv.size(0), pages.keys.size(1) * dim}, qkv.options());
  for_element_of(pages, [&](auto element) {
    using Element = decltype(element);
    const Arguments<Element> arguments{bf16(qkv),
                                       cos_sin.const_data_ptr<float>(),
                                       positions.const_data_ptr<int>(),
                                       sequences.const_data_ptr<int>(),
                                       pages.block_table.const_data_ptr<int>(),
                                       pages.shared.const_data_ptr<int>(),
                                       cache_of<Element>(pages),
                                       bf16(out),
                                       layout_of(pages),
                                       1.0f / std::sqrt(static_cast<float>(dim))};
    switch (dim) {
    case 16: launch<2>(arguments, qkv.size(0)); break;
    case 32: launch<4>(arguments, qkv.size(0)); break;
    case 64: launch<8>(arguments, qkv.size(0)); break;
    case 128: launch<16>(arguments, qkv.size(0)); break;
    default: TORCH_CHECK(false, "decode_attention: head size ", dim, " (16, 32, 64 or 128)");
    }
  });
  return out;
}

} // namespace audiobookd::engine::cuda
