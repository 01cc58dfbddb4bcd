#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/decode_kernels.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <cuda_bf16.h>

namespace audiobookd::engine::cuda {
namespace {

const __nv_bfloat16* bf16(const at::Tensor& t) { return reinterpret_cast<const __nv_bfloat16*>(t.const_data_ptr()); }
__nv_bfloat16* bf16(at::Tensor& t) { return reinterpret_cast<__nv_bfloat16*>(t.data_ptr()); }

/// Eight bf16 values, moved as one 16-byte load.
struct alignas(16) Bf16x8 {
  __nv_bfloat162 pair[4];
};

/// The same eight values in fp32.
struct Float8 {
  float at[8];
};

__device__ Float8 load8(const __nv_bfloat16* p) {
  const auto x8 = *reinterpret_cast<const Bf16x8*>(p);
  Float8 out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = __bfloat1622float2(x8.pair[i]);
    out.at[2 * i] = x.x;
    out.at[2 * i + 1] = x.y;
  }
  return out;
}

__device__ Float8 load8(const float* p) {
  const float4 low = reinterpret_cast<const float4*>(p)[0];
  const float4 high = reinterpret_cast<const float4*>(p)[1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ void store8(__nv_bfloat16* p, const Float8& x) {
  Bf16x8 x8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x8.pair[i] = __floats2bfloat162_rn(x.at[2 * i], x.at[2 * i + 1]);
  }
  *reinterpret_cast<Bf16x8*>(p) = x8;
}

__device__ void store8(float* p, const Float8& x) {
  reinterpret_cast<float4*>(p)[0] = make_float4(x.at[0], x.at[1], x.at[2], x.at[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(x.at[4], x.at[5], x.at[6], x.at[7]);
}

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

struct Layout {
  int num_heads, head_dim, page_size, max_pages;
};

Layout layout_of(const Pages& pages) {
  return {static_cast<int>(pages.keys.size(1)), static_cast<int>(pages.keys.size(3)),
          static_cast<int>(pages.keys.size(2)), static_cast<int>(pages.block_table.size(1))};
}

__global__ void rope_append_kernel(__nv_bfloat16* qkv, const float* cos_sin, const int* positions, const int* sequences,
                                   const int* block_table, __nv_bfloat16* keys, __nv_bfloat16* values, Layout layout) {
  const int row = blockIdx.x;
  const int half = layout.head_dim / 2;
  const int hidden = layout.num_heads * layout.head_dim;
  const int position = positions[row];
  if (position < 0) {
    return;
  }
  const std::int64_t page =
      block_table[static_cast<std::int64_t>(sequences[row]) * layout.max_pages + position / layout.page_size];
  const float* const table = cos_sin + static_cast<std::size_t>(position) * layout.head_dim;
  for (int i = 8 * threadIdx.x; i < layout.num_heads * half; i += 8 * blockDim.x) { // eight pairs a thread
    const int head = i / half;
    const int dim = i % half;
    const Float8 c = load8(table + dim);
    const Float8 s = load8(table + dim + half);
    __nv_bfloat16* const q = qkv + static_cast<std::size_t>(row) * 3 * hidden + head * layout.head_dim + dim;
    const std::size_t at =
        ((page * layout.num_heads + head) * layout.page_size + position % layout.page_size) * layout.head_dim + dim;
    for (int part = 0; part < 2; ++part) { // queries, keys
      __nv_bfloat16* const x = q + part * hidden;
      Float8 a = load8(x);
      Float8 b = load8(x + half);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float first = a.at[k];
        a.at[k] = first * c.at[k] - b.at[k] * s.at[k];
        b.at[k] = b.at[k] * c.at[k] + first * s.at[k];
      }
      store8(x, a);
      store8(x + half, b);
      if (part == 1) {
        store8(keys + at, a);
        store8(keys + at + half, b);
      }
    }
    *reinterpret_cast<Bf16x8*>(values + at) = *reinterpret_cast<const Bf16x8*>(q + 2 * hidden);
    *reinterpret_cast<Bf16x8*>(values + at + half) = *reinterpret_cast<const Bf16x8*>(q + 2 * hidden + half);
  }
}

// ------------------------------------------------------------------------------------------------------- attention

__device__ float dot8(const float* a, const Bf16x8& b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = __bfloat1622float2(b.pair[i]);
    sum = fmaf(a[2 * i], x.x, sum);
    sum = fmaf(a[2 * i + 1], x.y, sum);
  }
  return sum;
}

__device__ void add_scaled8(float* sum, float scale, const Bf16x8& x8) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = __bfloat1622float2(x8.pair[i]);
    sum[2 * i] = fmaf(scale, x.x, sum[2 * i]);
    sum[2 * i + 1] = fmaf(scale, x.y, sum[2 * i + 1]);
  }
}

constexpr int attention_warps = 4;

/// A block computes one head of one row. `lanes` lanes share one position (8 values each), so a warp holds
/// 32 / lanes positions at a time; `unroll` of those loads are in flight together. Warp w takes pages w, w + 4, …
template <int lanes>
__global__ void __launch_bounds__(attention_warps* warp_size)
    decode_attention_kernel(const __nv_bfloat16* qkv, const __nv_bfloat16* keys, const __nv_bfloat16* values,
                            const int* positions, const int* sequences, const int* block_table, __nv_bfloat16* out,
                            Layout layout, float scale) {
  constexpr int head_dim = 8 * lanes;
  constexpr int groups = warp_size / lanes;
  constexpr int page_size = 32;
  constexpr int per_page = page_size / groups; // positions of a page that one lane group sees
  constexpr int unroll = per_page < 4 ? per_page : 4;
  const int row = blockIdx.x;
  const int head = blockIdx.y;
  const int warp = threadIdx.x / warp_size;
  const int lane = threadIdx.x % warp_size;
  const int group = lane / lanes;
  const int part = lane % lanes;
  const int hidden = layout.num_heads * head_dim;
  const int length = positions[row] + 1;
  if (length <= 0) {
    return;
  }
  const int* const page_list = block_table + static_cast<std::int64_t>(sequences[row]) * layout.max_pages;

  float q[8];
  {
    const auto query =
        *reinterpret_cast<const Bf16x8*>(qkv + static_cast<std::size_t>(row) * 3 * hidden + head * head_dim + part * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 x = __bfloat1622float2(query.pair[i]);
      q[2 * i] = x.x * scale;
      q[2 * i + 1] = x.y * scale;
    }
  }
  float sum[8] = {};
  float largest = -INFINITY; // the same in all lanes of the warp
  float total = 0;           // of this lane group
  const int num_pages = (length + page_size - 1) / page_size;
  for (int page_index = warp; page_index < num_pages; page_index += attention_warps) {
    const std::int64_t page = page_list[page_index];
    const std::size_t base = static_cast<std::size_t>(page * layout.num_heads + head) * page_size * head_dim + part * 8;
    const int count = min(page_size, length - page_index * page_size);
    for (int begin = 0; begin < count; begin += unroll * groups) {
      Bf16x8 k[unroll];
      Bf16x8 v[unroll];
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        const int p = min(begin + u * groups + group, count - 1); // beyond the end: a repeated position of weight 0
        k[u] = *reinterpret_cast<const Bf16x8*>(keys + base + static_cast<std::size_t>(p) * head_dim);
        v[u] = *reinterpret_cast<const Bf16x8*>(values + base + static_cast<std::size_t>(p) * head_dim);
      }
      float score[unroll];
      float new_largest = largest;
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        float s = dot8(q, k[u]);
#pragma unroll
        for (int offset = lanes / 2; offset > 0; offset /= 2) {
          s += __shfl_xor_sync(full_mask, s, offset);
        }
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
        sum[i] *= correction;
      }
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        const float weight = __expf(score[u] - new_largest);
        total += weight;
        add_scaled8(sum, weight, v[u]);
      }
      largest = new_largest;
    }
  }
#pragma unroll
  for (int offset = warp_size / 2; offset >= lanes; offset /= 2) { // over the groups of the warp
    total += __shfl_xor_sync(full_mask, total, offset);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      sum[i] += __shfl_xor_sync(full_mask, sum[i], offset);
    }
  }
  __shared__ float warp_largest[attention_warps];
  __shared__ float warp_total[attention_warps];
  __shared__ float warp_sum[attention_warps][head_dim];
  if (group == 0) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      warp_sum[warp][part * 8 + i] = sum[i];
    }
  }
  if (lane == 0) {
    warp_largest[warp] = largest;
    warp_total[warp] = total;
  }
  __syncthreads();
  for (int dim = threadIdx.x; dim < head_dim; dim += attention_warps * warp_size) {
    float all_largest = warp_largest[0]; // warp 0 always has a page
    for (int w = 1; w < attention_warps; ++w) {
      all_largest = fmaxf(all_largest, warp_largest[w]);
    }
    float numerator = 0;
    float denominator = 0;
    for (int w = 0; w < attention_warps; ++w) {
      const float factor = __expf(warp_largest[w] - all_largest);
      numerator += factor * warp_sum[w][dim];
      denominator += factor * warp_total[w];
    }
    out[static_cast<std::size_t>(row) * hidden + head * head_dim + dim] = __float2bfloat16(numerator / denominator);
  }
}

template <int lanes>
void launch_attention(const at::Tensor& qkv, const at::Tensor& positions, const at::Tensor& sequences,
                      const Pages& pages, at::Tensor& out) {
  const Layout layout = layout_of(pages);
  const dim3 grid(static_cast<unsigned>(qkv.size(0)), static_cast<unsigned>(layout.num_heads));
  decode_attention_kernel<lanes><<<grid, attention_warps * warp_size, 0, at::cuda::getCurrentCUDAStream()>>>(
      bf16(qkv), bf16(pages.keys), bf16(pages.values), positions.const_data_ptr<int>(), sequences.const_data_ptr<int>(),
      pages.block_table.const_data_ptr<int>(), bf16(out), layout,
      1.0f / std::sqrt(static_cast<float>(layout.head_dim)));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// ---------------------------------------------------------------------------------------------------------- prompts

/// A block copies one position of all heads.
__global__ void gather_pages_kernel(const __nv_bfloat16* keys, const __nv_bfloat16* values, const int* positions,
                                    const int* sequences, const int* block_table, __nv_bfloat16* flat_keys,
                                    __nv_bfloat16* flat_values, Layout layout) {
  const int position = positions[blockIdx.x];
  const std::int64_t page =
      block_table[static_cast<std::int64_t>(sequences[blockIdx.x]) * layout.max_pages + position / layout.page_size];
  const int hidden = layout.num_heads * layout.head_dim;
  for (int i = 8 * threadIdx.x; i < hidden; i += 8 * blockDim.x) {
    const std::size_t from =
        ((page * layout.num_heads + i / layout.head_dim) * layout.page_size + position % layout.page_size) *
            layout.head_dim +
        i % layout.head_dim;
    const std::size_t to = static_cast<std::size_t>(blockIdx.x) * hidden + i;
    *reinterpret_cast<Bf16x8*>(flat_keys + to) = *reinterpret_cast<const Bf16x8*>(keys + from);
    *reinterpret_cast<Bf16x8*>(flat_values + to) = *reinterpret_cast<const Bf16x8*>(values + from);
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
  rope_append_kernel<<<static_cast<unsigned>(qkv.size(0)), 64, 0, at::cuda::getCurrentCUDAStream()>>>(
      bf16(qkv), cos_sin.const_data_ptr<float>(), positions.const_data_ptr<int>(), sequences.const_data_ptr<int>(),
      pages.block_table.const_data_ptr<int>(), bf16(pages.keys), bf16(pages.values), layout_of(pages));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor decode_attention(const at::Tensor& qkv, const at::Tensor& positions, const at::Tensor& sequences,
                            const Pages& pages) {
  const Layout layout = layout_of(pages);
  TORCH_CHECK(layout.page_size == 32, "decode_attention: pages of 32 positions");
  at::Tensor out =
      at::empty({qkv.size(0), static_cast<std::int64_t>(layout.num_heads) * layout.head_dim}, qkv.options());
  switch (layout.head_dim) {
  case 16: launch_attention<2>(qkv, positions, sequences, pages, out); break;
  case 32: launch_attention<4>(qkv, positions, sequences, pages, out); break;
  case 64: launch_attention<8>(qkv, positions, sequences, pages, out); break;
  case 128: launch_attention<16>(qkv, positions, sequences, pages, out); break;
  default: TORCH_CHECK(false, "decode_attention: head size ", layout.head_dim, " (16, 32, 64 or 128)");
  }
  return out;
}

FlatKeysValues gather_pages(const Pages& pages, const at::Tensor& positions, const at::Tensor& sequences) {
  const Layout layout = layout_of(pages);
  const std::int64_t count = positions.size(0);
  FlatKeysValues flat;
  flat.keys = at::empty({count, layout.num_heads, layout.head_dim}, pages.keys.options());
  flat.values = at::empty_like(flat.keys);
  gather_pages_kernel<<<static_cast<unsigned>(count), 128, 0, at::cuda::getCurrentCUDAStream()>>>(
      bf16(pages.keys), bf16(pages.values), positions.const_data_ptr<int>(), sequences.const_data_ptr<int>(),
      pages.block_table.const_data_ptr<int>(), bf16(flat.keys), bf16(flat.values), layout);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return flat;
}

} // namespace audiobookd::engine::cuda
