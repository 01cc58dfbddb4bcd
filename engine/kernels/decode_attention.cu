// rope_append and decode_attention for CUDA, fp32.
//
// One block computes one head of one row. Its warps take whole pages in turn (warp w: pages w, w+4, …), keep a running
// maximum and sum (online softmax), and are combined in warp order: the order of every sum depends on the row alone.
#include "engine/kernels/decode_attention_cuda.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <cmath>

namespace audiobookd::engine::kernels {
namespace {

constexpr int warp_size = 32;
constexpr int num_warps = 4;
constexpr int max_dims_per_lane = 4; // head_dim up to 128
constexpr unsigned full_mask = 0xffffffffu;

struct Layout {
  int num_heads, head_dim, page_size, max_pages;
};

__global__ void rope_append_kernel(float* qkv, const float* cos_sin, const int* positions, const int* block_table,
                                   float* keys, float* values, Layout layout) {
  const int row = blockIdx.x;
  const int half = layout.head_dim / 2;
  const int hidden = layout.num_heads * layout.head_dim;
  const int position = positions[row];
  const int page = block_table[row * layout.max_pages + position / layout.page_size];
  const float* const table = cos_sin + static_cast<std::size_t>(position) * layout.head_dim;
  float* const base = qkv + static_cast<std::size_t>(row) * 3 * hidden;
  for (int i = threadIdx.x; i < layout.num_heads * half; i += blockDim.x) {
    const int head = i / half;
    const int dim = i % half;
    const float c = table[dim];
    const float s = table[dim + half];
    float* const q = base + head * layout.head_dim + dim;
    const float* const k = q + hidden;
    const float* const v = q + 2 * hidden;
    const float q0 = q[0];
    const float q1 = q[half];
    q[0] = q0 * c - q1 * s;
    q[half] = q1 * c + q0 * s;
    const std::size_t at =
        ((static_cast<std::size_t>(page) * layout.num_heads + head) * layout.page_size + position % layout.page_size) *
            layout.head_dim +
        dim;
    keys[at] = k[0] * c - k[half] * s;
    keys[at + half] = k[half] * c + k[0] * s;
    values[at] = v[0];
    values[at + half] = v[half];
  }
}

__device__ float warp_sum(float x) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(full_mask, x, offset);
  }
  return x;
}

__global__ void decode_attention_kernel(const float* qkv, const float* keys, const float* values, const int* positions,
                                        const int* block_table, float* out, Layout layout, float scale) {
  const int row = blockIdx.x;
  const int head = blockIdx.y;
  const int warp = threadIdx.x / warp_size;
  const int lane = threadIdx.x % warp_size;
  const int hidden = layout.num_heads * layout.head_dim;
  const int length = positions[row] + 1;
  const float* const query = qkv + static_cast<std::size_t>(row) * 3 * hidden + head * layout.head_dim;

  float q[max_dims_per_lane];
  float sum[max_dims_per_lane];
  for (int d = 0; d < max_dims_per_lane; ++d) {
    const int dim = lane + d * warp_size;
    q[d] = dim < layout.head_dim ? query[dim] * scale : 0.0f;
    sum[d] = 0.0f;
  }
  float largest = -INFINITY;
  float total = 0.0f;
  const int num_pages = (length + layout.page_size - 1) / layout.page_size;
  for (int page_index = warp; page_index < num_pages; page_index += num_warps) {
    const int page = block_table[row * layout.max_pages + page_index];
    const std::size_t base =
        (static_cast<std::size_t>(page) * layout.num_heads + head) * layout.page_size * layout.head_dim;
    const int count = min(layout.page_size, length - page_index * layout.page_size);
    for (int i = 0; i < count; ++i) {
      const std::size_t at = base + static_cast<std::size_t>(i) * layout.head_dim;
      float score = 0.0f;
      for (int d = 0; d < max_dims_per_lane; ++d) {
        const int dim = lane + d * warp_size;
        score += dim < layout.head_dim ? q[d] * keys[at + dim] : 0.0f;
      }
      score = warp_sum(score);
      const float new_largest = fmaxf(largest, score);
      const float correction = __expf(largest - new_largest);
      const float weight = __expf(score - new_largest);
      total = total * correction + weight;
      for (int d = 0; d < max_dims_per_lane; ++d) {
        const int dim = lane + d * warp_size;
        sum[d] = sum[d] * correction + (dim < layout.head_dim ? weight * values[at + dim] : 0.0f);
      }
      largest = new_largest;
    }
  }

  __shared__ float warp_largest[num_warps];
  __shared__ float warp_total[num_warps];
  __shared__ float warp_sums[num_warps][max_dims_per_lane * warp_size];
  for (int d = 0; d < max_dims_per_lane; ++d) {
    warp_sums[warp][lane + d * warp_size] = sum[d];
  }
  if (lane == 0) {
    warp_largest[warp] = largest;
    warp_total[warp] = total;
  }
  __syncthreads();
  for (int dim = threadIdx.x; dim < layout.head_dim; dim += blockDim.x) {
    float all_largest = -INFINITY;
    for (int w = 0; w < num_warps; ++w) {
      all_largest = fmaxf(all_largest, warp_largest[w]);
    }
    float numerator = 0.0f;
    float denominator = 0.0f;
    for (int w = 0; w < num_warps; ++w) {
      const float factor = __expf(warp_largest[w] - all_largest); // 0 for a warp without a page
      numerator += factor * warp_sums[w][dim];
      denominator += factor * warp_total[w];
    }
    out[static_cast<std::size_t>(row) * hidden + head * layout.head_dim + dim] = numerator / denominator;
  }
}

Layout layout_of(const PagedRows& rows) {
  const Layout layout{static_cast<int>(rows.keys.size(1)), static_cast<int>(rows.keys.size(3)),
                      static_cast<int>(rows.keys.size(2)), static_cast<int>(rows.block_table.size(1))};
  TORCH_CHECK(layout.head_dim % 2 == 0 && layout.head_dim <= max_dims_per_lane * warp_size,
              "decode attention: head size ", layout.head_dim, " is not supported (even, at most 128)");
  return layout;
}

} // namespace

void rope_append_cuda(at::Tensor& qkv, const at::Tensor& cos_sin, PagedRows& rows) {
  const Layout layout = layout_of(rows);
  rope_append_kernel<<<static_cast<unsigned>(qkv.size(0)), 256, 0, at::cuda::getCurrentCUDAStream()>>>(
      qkv.data_ptr<float>(), cos_sin.const_data_ptr<float>(), rows.positions.const_data_ptr<int>(),
      rows.block_table.const_data_ptr<int>(), rows.keys.data_ptr<float>(), rows.values.data_ptr<float>(), layout);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor decode_attention_cuda(const at::Tensor& qkv, const PagedRows& rows) {
  const Layout layout = layout_of(rows);
  at::Tensor out =
      at::empty({qkv.size(0), static_cast<std::int64_t>(layout.num_heads) * layout.head_dim}, qkv.options());
  const dim3 grid(static_cast<unsigned>(qkv.size(0)), static_cast<unsigned>(layout.num_heads));
  decode_attention_kernel<<<grid, num_warps * warp_size, 0, at::cuda::getCurrentCUDAStream()>>>(
      qkv.const_data_ptr<float>(), rows.keys.const_data_ptr<float>(), rows.values.const_data_ptr<float>(),
      rows.positions.const_data_ptr<int>(), rows.block_table.const_data_ptr<int>(), out.data_ptr<float>(), layout,
      1.0f / std::sqrt(static_cast<float>(layout.head_dim)));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

} // namespace audiobookd::engine::kernels
