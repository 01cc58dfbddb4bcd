// Flash attention (Dao 2023; Shah et al. 2024 for Hopper): a producer warpgroup streams keys and values through two
// rings, each consumer warpgroup carries 64 queries. While a warpgroup's tensor products run it computes the
// exponentials of the next block.
#include "engine/cuda/flow_kernels_attention.h"
#include "engine/cuda/row_tiles.cuh"
#include "engine/cuda/tensor_map.h"

#include <algorithm>
#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int head = attention_head_size;
constexpr int keys_per_block = 128;
constexpr int block_bytes = keys_per_block * head * 2;
constexpr int stages = 5;       // of keys, and of values
constexpr int query_stages = 2; // tiles of queries
constexpr int query_bytes = attention_tile * head * 2;
constexpr int alignment = 1024;
constexpr int num_barriers = 4 * stages + 2 * query_stages;
constexpr int shared_bytes = alignment + query_stages * query_bytes + 2 * stages * block_bytes + 8 * num_barriers;
constexpr int consumers = attention_tile / 64; // warpgroups
constexpr int consumer_warps = consumers * warpgroup / 32;
constexpr int threads = (1 + consumers) * warpgroup;
constexpr int score_words = keys_per_block / 2; // scores of a thread: two rows
/// A row's largest score so far is replaced only when it is exceeded by so many powers of two: sums stay below 2^8
/// times the number of keys, and most blocks need no rescaling.
constexpr float rescale_above = 8.0f;
/// Of so many column blocks one takes its exponentials from a polynomial: then neither unit waits for the other.
constexpr int polynomial_share = 8;

struct Params {
  CUtensorMap queries;
  CUtensorMap blocks; // of keys and values
  __nv_bfloat16* out;
  AttentionBatch batch;
  float scale; // of scores, in powers of two
};

struct Shared {
  std::uint32_t base;
  __device__ std::uint32_t queries(int i) const { return base + i * query_bytes; }
  __device__ std::uint32_t keys(int i) const { return queries(query_stages) + i * block_bytes; }
  __device__ std::uint32_t values(int i) const { return keys(stages + i); }
  __device__ std::uint32_t barrier(int i) const { return keys(2 * stages) + 8 * i; }
  __device__ std::uint32_t keys_full(int i) const { return barrier(i); }
  __device__ std::uint32_t keys_empty(int i) const { return barrier(stages + i); }
  __device__ std::uint32_t values_full(int i) const { return barrier(2 * stages + i); }
  __device__ std::uint32_t values_empty(int i) const { return barrier(3 * stages + i); }
  __device__ std::uint32_t queries_full(int i) const { return barrier(4 * stages + i); }
  __device__ std::uint32_t queries_empty(int i) const { return barrier(4 * stages + query_stages + i); }
};

/// One thread block's next piece of work.
struct Work {
  int head_index;
  int start;   // the sequence's first row
  int length;  // of the sequence
  int queries; // first query's place in the sequence
  int blocks;  // of keys

  __device__ Work(const AttentionBatch& batch, int item) : head_index(item % batch.heads) {
    const AttentionTile tile = batch.tiles[item / batch.heads];
    start = batch.starts[tile.sequence];
    length = batch.starts[tile.sequence + 1] - start;
    queries = tile.tile * attention_tile;
    blocks = (length + keys_per_block - 1) / keys_per_block;
  }
};

__device__ void load(const Params& params, const Shared& shared) {
  Turn<stages> turn;
  Turn<query_stages> tile;
  const int items = params.batch.num_tiles * params.batch.heads;
  const int width = params.batch.heads * head;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const Work work(params.batch, item);
    const int column = width + work.head_index * head;
    barrier_wait(shared.queries_empty(tile.at), tile.parity ^ 1);
    barrier_expect(shared.queries_full(tile.at), query_bytes);
    tensor_load(shared.queries(tile.at), &params.queries, work.head_index * head, work.start + work.queries,
                shared.queries_full(tile.at));
    tile.advance();
    for (int block = 0; block < work.blocks; ++block) {
      const int row = work.start + block * keys_per_block;
      barrier_wait(shared.keys_empty(turn.at), turn.parity ^ 1);
      barrier_expect(shared.keys_full(turn.at), block_bytes);
      tensor_load(shared.keys(turn.at), &params.blocks, column, row, shared.keys_full(turn.at));
      barrier_wait(shared.values_empty(turn.at), turn.parity ^ 1);
      barrier_expect(shared.values_full(turn.at), block_bytes);
      tensor_load(shared.values(turn.at), &params.blocks, column + width, row, shared.values_full(turn.at));
      turn.advance();
    }
  }
}

using Scores = float[score_words];
using Output = float[head / 2];
using Probabilities = std::uint32_t[keys_per_block / 16][4];

__device__ float exp2_of(float x) {
  float y = 0;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

/// 2^x for x <= 0 without the special-function unit, which is as busy as the tensor cores here: x = n + r with a cubic
/// for 2^r (within 1e-4, a twentieth of the rounding to bf16) and n added to the exponent.
__device__ float exp2_by_polynomial(float x) {
  constexpr float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer in the low bits
  x = fmaxf(x, -126.0f);
  const float shifted = x + magic;
  const float r = x - (shifted - magic);
  const float p = fmaf(fmaf(fmaf(0.05517166f, r, 0.24261112f), r, 0.69326099f), r, 0.99992807f);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

/// Starts scores = queries keys^T.
__device__ void start_scores(Scores& scores, std::uint32_t queries, std::uint32_t keys) {
  const std::uint64_t left = wgmma_operand(queries);
  const std::uint64_t right = wgmma_operand(keys);
#pragma unroll
  for (int k = 0; k < head / 16; ++k) {
    wgmma(scores, left + 2 * k, right + 2 * k, k > 0 ? 1 : 0);
  }
  wgmma_commit();
}

/// Starts output += probabilities values.
__device__ void start_output(Output& output, const Probabilities& probabilities, std::uint32_t values) {
  constexpr int sixteen_keys = 16 * head * 2 >> 4; // in units of the description
  const std::uint64_t right = wgmma_operand(values);
#pragma unroll
  for (int k = 0; k < keys_per_block / 16; ++k) {
    wgmma<1>(output, probabilities[k], right + sixteen_keys * k, 1);
  }
  wgmma_commit();
}

/// What is known of a thread's two rows, in powers of two.
struct RowState {
  float largest[2] = {-INFINITY, -INFINITY}; // reference point of the exponentials
  float sum[2] = {0, 0};                     // of this thread's columns
};

__device__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(all_lanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(all_lanes, x, 2));
}

/// Scores of keys past the sequence's end to minus infinity. @param left keys from the block's first one.
__device__ void mask(Scores& scores, int left, const Place& place) {
#pragma unroll
  for (int j = 0; j < keys_per_block / 8; ++j) {
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      if (8 * j + place.column + odd >= left) {
        scores[4 * j + odd] = -INFINITY;
        scores[4 * j + 2 + odd] = -INFINITY;
      }
    }
  }
}

/// Moves the reference points, and the sums to them, where needed. @return by what the output must be multiplied
__device__ float2 update_largest(const Scores& scores, RowState& state, float scale) {
  float upper = scores[0];
  float lower = scores[2];
#pragma unroll
  for (int j = 0; j < keys_per_block / 8; ++j) {
    upper = fmaxf(upper, fmaxf(scores[4 * j], scores[4 * j + 1]));
    lower = fmaxf(lower, fmaxf(scores[4 * j + 2], scores[4 * j + 3]));
  }
  const float found[2] = {quad_max(upper) * scale, quad_max(lower) * scale};
  float factor[2] = {1, 1};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (found[half] > state.largest[half] + rescale_above) {
      factor[half] = exp2_of(state.largest[half] - found[half]);
      state.largest[half] = found[half];
      state.sum[half] *= factor[half];
    }
  }
  return make_float2(factor[0], factor[1]);
}

/// scores = 2^(scale scores - largest), and their sums.
__device__ void exponentiate(Scores& scores, RowState& state, float scale) {
#pragma unroll
  for (int j = 0; j < keys_per_block / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int half = i / 2;
      const float x = fmaf(scores[4 * j + i], scale, -state.largest[half]);
      const float e = j % polynomial_share == polynomial_share - 1 ? exp2_by_polynomial(x) : exp2_of(x);
      scores[4 * j + i] = e;
      state.sum[half] += e;
    }
  }
}

__device__ void round_probabilities(const Scores& scores, Probabilities& probabilities) {
#pragma unroll
  for (int k = 0; k < keys_per_block / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      probabilities[k][i] = pack(scores[8 * k + 2 * i], scores[8 * k + 2 * i + 1]);
    }
  }
}

__device__ void rescale(Output& output, float2 factor) {
#pragma unroll
  for (int j = 0; j < head / 8; ++j) {
    output[4 * j] *= factor.x;
    output[4 * j + 1] *= factor.x;
    output[4 * j + 2] *= factor.y;
    output[4 * j + 3] *= factor.y;
  }
}

__device__ void store_output(const Output& output, const RowState& state, const Params& params, const Work& work,
                             const Place& place) {
  const int width = params.batch.heads * head;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = 1.0f / quad_sum(state.sum[half]);
    const int row = work.queries + place.row + 8 * half;
    __nv_bfloat16* const to = params.out + static_cast<std::size_t>(work.start + row) * width + work.head_index * head;
#pragma unroll
    for (int j = 0; j < head / 8; j += 4) {
      const int i = 4 * j + 2 * half;
      const uint4 block = gather_block(pack(output[i] * inverse, output[i + 1] * inverse),
                                       pack(output[i + 4] * inverse, output[i + 5] * inverse),
                                       pack(output[i + 8] * inverse, output[i + 9] * inverse),
                                       pack(output[i + 12] * inverse, output[i + 13] * inverse), place.lane);
      if (row < work.length) {
        *reinterpret_cast<uint4*>(to + 8 * (j + place.lane % 4)) = block;
      }
    }
  }
}

/// What a consumer thread keeps from one piece of work to the next.
struct Consumer {
  const Params& params;
  const Shared& shared;
  Place place{0};
  Turn<stages> keys{};
  Turn<stages> values{};
  Turn<query_stages> tile{};

  __device__ void release(std::uint32_t barrier) const {
    if (place.lane == 0) {
      barrier_arrive(barrier);
    }
  }

  /// Starts the scores of the next keys once they are there.
  __device__ void next_scores(Scores& scores, std::uint32_t queries) const {
    barrier_wait(shared.keys_full(keys.at), keys.parity);
    wgmma_fence();
    start_scores(scores, queries, shared.keys(keys.at));
  }

  __device__ void done_with_keys() {
    release(shared.keys_empty(keys.at));
    keys.advance();
  }

  /// Starts adding the next values to the output once they are there.
  __device__ void next_output(Output& output, const Probabilities& probabilities) const {
    barrier_wait(shared.values_full(values.at), values.parity);
    wgmma_fence();
    start_output(output, probabilities, shared.values(values.at));
  }

  __device__ void done_with_values() {
    release(shared.values_empty(values.at));
    values.advance();
  }

  /// From the scores of @p block to what stands in for probabilities. @return by what the output must be multiplied
  __device__ float2 soften(Scores& scores, RowState& state, const Work& work, int block) const {
    const int left = work.length - block * keys_per_block;
    if (left < keys_per_block) {
      mask(scores, left, place);
    }
    const float2 factor = update_largest(scores, state, params.scale);
    exponentiate(scores, state, params.scale);
    return factor;
  }

  __device__ void attend(const Work& work) {
    Scores scores;
    Output output;
    Probabilities probabilities;
    RowState state;
#pragma unroll
    for (float& x : output) {
      x = 0;
    }
    barrier_wait(shared.queries_full(tile.at), tile.parity);
    const std::uint32_t queries = shared.queries(tile.at) + place.group * 64 * tile_row_bytes;
    next_scores(scores, queries);
    wgmma_wait<0>();
    done_with_keys();
    soften(scores, state, work, 0);
    round_probabilities(scores, probabilities);
#pragma unroll 1
    for (int block = 1; block < work.blocks; ++block) {
      next_scores(scores, queries);
      next_output(output, probabilities);
      wgmma_wait<1>();
      done_with_keys();
      const float2 factor = soften(scores, state, work, block);
      wgmma_wait<0>();
      done_with_values();
      if (__any_sync(all_lanes, factor.x != 1.0f || factor.y != 1.0f)) {
        rescale(output, factor);
      }
      round_probabilities(scores, probabilities);
    }
    release(shared.queries_empty(tile.at));
    tile.advance();
    next_output(output, probabilities);
    wgmma_wait<0>();
    done_with_values();
    store_output(output, state, params, work, place);
  }
};

__global__ void __launch_bounds__(threads, 1) attention_kernel(const __grid_constant__ Params params) {
  extern __shared__ char memory[];
  const Shared shared{(shared_address(memory) + alignment - 1) / alignment * alignment};
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) {
      barrier_init(shared.keys_full(i), 1);
      barrier_init(shared.keys_empty(i), consumer_warps);
      barrier_init(shared.values_full(i), 1);
      barrier_init(shared.values_empty(i), consumer_warps);
    }
    for (int i = 0; i < query_stages; ++i) {
      barrier_init(shared.queries_full(i), 1);
      barrier_init(shared.queries_empty(i), consumer_warps);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < warpgroup) {
    give_registers<32>();
    if (threadIdx.x == 0) {
      load(params, shared);
    }
    return;
  }
  take_registers<160>();
  Consumer consumer{params, shared};
  const int items = params.batch.num_tiles * params.batch.heads;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    consumer.attend(Work(params.batch, item));
  }
}

} // namespace

void flow_attention(const __nv_bfloat16* qkv, const AttentionBatch& batch, __nv_bfloat16* out, cudaStream_t stream) {
  Params params{};
  params.queries = matrix_map(qkv, batch.rows, 3 * batch.heads * head, attention_tile, head);
  params.blocks = matrix_map(qkv, batch.rows, 3 * batch.heads * head, keys_per_block, head);
  params.out = out;
  params.batch = batch;
  constexpr float log2_e = 1.44269504f;
  params.scale = log2_e / 8.0f; // 1 / sqrt(64)
  int device = 0;
  int multiprocessors = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  C10_CUDA_CHECK(cudaFuncSetAttribute(attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const int blocks = std::min(batch.num_tiles * batch.heads, multiprocessors);
  attention_kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
