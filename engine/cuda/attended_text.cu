#include "engine/cuda/attended_text.h"
#include "engine/cuda/bf16_vector.cuh"
#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/page_list.cuh"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int watch_threads = 128;
constexpr int largest_head = 128;

/// One head of a layer's keys, and its rows' queries.
template <typename Element>
struct Head {
  const __nv_bfloat16* qkv; // [rows, 3 * heads * dim]
  const float* cos_sin;     // [positions, dim]
  Cache<Element> cache;
  const int* block_table; // [sequences, max_pages]
  const int* shared;      // [sequences]
  int index;
  Layout layout;
};

/// What TextWatch says, and a column of what it gets.
struct Watch {
  int begin;
  const int* lengths;
  int* attended;
  int stride;
};

/// The rotated query of row @p row, by all threads of the block.
template <typename Element>
__device__ void load_query(const Head<Element>& head, int row, int position, float* query) {
  const __nv_bfloat16* const q =
      head.qkv + (static_cast<std::size_t>(row) * 3 * head.layout.num_heads + head.index) * head.layout.head_dim;
  const float* const table = head.cos_sin + static_cast<std::size_t>(position) * head.layout.head_dim;
  const int half = head.layout.head_dim / 2;
  for (int i = threadIdx.x; i < half; i += watch_threads) {
    const float low = __bfloat162float(q[i]);
    const float high = __bfloat162float(q[i + half]);
    query[i] = low * table[i] - high * table[i + half];
    query[i + half] = high * table[i] + low * table[i + half];
  }
  __syncthreads();
}

/// sum + eight products.
__device__ float add_product8(float sum, const float* query, const Float8& key) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    sum = fmaf(query[i], key.at[i], sum);
  }
  return sum;
}

/// A block looks for one row, a thread at one position at a time.
template <typename Element>
__global__ void __launch_bounds__(watch_threads)
    attended_text_kernel(Head<Element> head, const int* positions, const int* sequences, Watch watch) {
  __shared__ float query[largest_head];
  __shared__ Candidate candidates[watch_threads / warp_size];
  const int row = blockIdx.x;
  const int sequence = sequences[row];
  const int length = watch.lengths[sequence];
  if (length == 0 || positions[row] < 0) {
    return;
  }
  load_query(head, row, positions[row], query);
  const PageList pages(head.block_table, head.shared, sequence, head.layout.max_pages);
  Candidate best{-INFINITY, 0};
  for (int i = threadIdx.x; i < length; i += watch_threads) {
    const std::size_t at = pages.at(watch.begin + i, head.index, head.layout);
    float score = 0;
    for (int dim = 0; dim < head.layout.head_dim; dim += 8) {
      score = add_product8(score, query + dim, load8(head.cache.keys + at + dim));
    }
    score *= scale_at<Element>(is_scaled<Element> ? head.cache.exponent_at(at, head.layout.head_dim) : nullptr, 0);
    best = better(best, {score, i});
  }
  best = block_best<watch_threads>(best, candidates);
  if (threadIdx.x == 0) {
    watch.attended[static_cast<std::size_t>(sequence) * watch.stride] = best.index;
  }
}

} // namespace

void attended_text(const at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions,
                   const at::Tensor& sequences, const Pages& pages, const TextWatch& watch, std::size_t slot) {
  for_element_of(pages, [&](auto element) {
    using Element = decltype(element);
    const Head<Element> head{bf16(qkv),
                             cos_sin.const_data_ptr<float>(),
                             cache_of<Element>(pages),
                             pages.block_table.const_data_ptr<int>(),
                             pages.shared.const_data_ptr<int>(),
                             watch.heads[slot].head,
                             layout_of(pages)};
    TORCH_CHECK(head.layout.head_dim % 8 == 0 && head.layout.head_dim <= largest_head, "attended_text: head size ",
                head.layout.head_dim);
    attended_text_kernel<<<static_cast<unsigned>(qkv.size(0)), watch_threads, 0, at::cuda::getCurrentCUDAStream()>>>(
        head, positions.const_data_ptr<int>(), sequences.const_data_ptr<int>(),
        {watch.begin, watch.lengths.const_data_ptr<int>(), watch.attended.data_ptr<int>() + slot,
         static_cast<int>(watch.heads.size())});
  });
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
