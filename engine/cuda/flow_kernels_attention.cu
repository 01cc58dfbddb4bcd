// Flash attention (Dao 2023; Shah et al. 2024 for Hopper): a producer warpgroup streams keys and values through two
// rings, each consumer warpgroup carries 64 queries. While one warpgroup computes exponentials the others multiply.
//
// There is no running maximum. Whatever is subtracted from a row's scores before the exponential cancels in the end, so
// it has to keep the exponentials within fp32 (and bf16, whose exponents are the same) and nothing more: zero does for
// scores as small as a flow's are, and the first block's largest score for others. Rows that leave the range all the
// same are recomputed by attend_row().
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
/// First blocks whose largest scores are within these powers of two need no reference point.
constexpr float small_score = 32.0f;
/// A row whose sum of exponentials is not between 1 / sum_limit and sum_limit may have lost some of them.
constexpr float sum_limit = 0x1p100f;

struct Params {
  CUtensorMap queries;
  CUtensorMap blocks; // of keys and values
  const __nv_bfloat16* qkv;
  void* out;
  AttentionBatch batch;
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

/// One thread block's next piece of work. Key blocks are taken in the order last, first, second …: the one that may be
/// incomplete at the beginning.
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
  /// Place in the sequence of the first key of the block taken as number @p taken.
  __device__ int first_key(int taken) const { return (taken == 0 ? blocks - 1 : taken - 1) * keys_per_block; }
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
      const int row = work.start + work.first_key(block);
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

/// What is known of a thread's two rows.
struct RowState {
  float reference[2] = {0, 0}; // subtracted from scores
  float sum[2] = {0, 0};       // of this thread's columns
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

/// Chooses the rows' reference points. @return whether any row of the warp has one
__device__ bool find_references(const Scores& scores, RowState& state) {
  float upper = scores[0];
  float lower = scores[2];
#pragma unroll
  for (int j = 0; j < keys_per_block / 8; ++j) {
    upper = fmaxf(upper, fmaxf(scores[4 * j], scores[4 * j + 1]));
    lower = fmaxf(lower, fmaxf(scores[4 * j + 2], scores[4 * j + 3]));
  }
  const float largest[2] = {quad_max(upper), quad_max(lower)};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    state.reference[half] = fabsf(largest[half]) <= small_score ? 0 : largest[half];
  }
  return __any_sync(all_lanes, state.reference[0] != 0 || state.reference[1] != 0) != 0;
}

/// scores = 2^(scores - reference), and their sums. @param shifted whether there are references other than zero
template <bool shifted>
__device__ void exponentiate(Scores& scores, RowState& state) {
#pragma unroll
  for (int j = 0; j < keys_per_block / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int half = i / 2;
      const float e = exp2_of(shifted ? scores[4 * j + i] - state.reference[half] : scores[4 * j + i]);
      scores[4 * j + i] = e;
      state.sum[half] += e;
    }
  }
}

__device__ void exponentiate(Scores& scores, RowState& state, bool shifted) {
  if (shifted) {
    exponentiate<true>(scores, state);
  } else {
    exponentiate<false>(scores, state);
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

/// Two bf16 of a word.
__device__ float2 unpack(std::uint32_t word) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&word));
}

__device__ float dot(const __nv_bfloat16* a, const __nv_bfloat16* b) {
  float sum = 0;
  for (int i = 0; i < head; i += 8) {
    const uint4 x = *reinterpret_cast<const uint4*>(a + i);
    const uint4 y = *reinterpret_cast<const uint4*>(b + i);
    const std::uint32_t xs[4] = {x.x, x.y, x.z, x.w};
    const std::uint32_t ys[4] = {y.x, y.y, y.z, y.w};
    for (int k = 0; k < 4; ++k) {
      const float2 u = unpack(xs[k]);
      const float2 v = unpack(ys[k]);
      sum = fmaf(u.x, v.x, fmaf(u.y, v.y, sum));
    }
  }
  return sum;
}

/// One query's whole attention by one warp with the row's true maximum: slow and always right. @param row of the
/// sequence
template <class Element>
__device__ void attend_row(const Params& params, const Work& work, int row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int width = params.batch.heads * head;
  const __nv_bfloat16* const first =
      params.qkv + static_cast<std::size_t>(work.start) * 3 * width + work.head_index * head;
  const __nv_bfloat16* const query = first + static_cast<std::size_t>(row) * 3 * width;
  const auto key = [&](int i) { return first + static_cast<std::size_t>(i) * 3 * width + width; };
  float largest = -INFINITY;
  for (int i = lane; i < work.length; i += 32) {
    largest = fmaxf(largest, dot(query, key(i)));
  }
  for (int step = 16; step > 0; step /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, step));
  }
  float sum = 0;
  float2 out = make_float2(0, 0);
  for (int block = 0; block < work.length; block += 32) {
    const int i = block + lane;
    const float own = i < work.length ? exp2_of(dot(query, key(i)) - largest) : 0;
    for (int other = 0; other < min(32, work.length - block); ++other) {
      const float weight = __shfl_sync(all_lanes, own, other);
      const float2 value = unpack(reinterpret_cast<const std::uint32_t*>(key(block + other) + width)[lane]);
      sum += weight;
      out.x = fmaf(weight, value.x, out.x);
      out.y = fmaf(weight, value.y, out.y);
    }
  }
  Element* const to =
      static_cast<Element*>(params.out) + static_cast<std::size_t>(work.start + row) * width + work.head_index * head;
  if constexpr (is_fp8<Element>) { // columns 2 lane (+ 1) in the order of pack_weights_e4m3()
    const int place = lane / 8 * 16 + lane % 4 * 4 + lane / 4 % 2 * 2;
    *reinterpret_cast<std::uint16_t*>(to + place) =
        static_cast<std::uint16_t>(pack_e4m3(out.x / sum, out.y / sum, 0, 0));
  } else {
    reinterpret_cast<std::uint32_t*>(to)[lane] = pack(out.x / sum, out.y / sum);
  }
}

/// Stores a warp's 16 rows. @param sums of the thread's two rows
template <class Element>
__device__ void store_output(const Output& output, const float (&sums)[2], const Params& params, const Work& work,
                             const Place& place) {
  constexpr int piece = 16 / static_cast<int>(sizeof(Element)); // columns of 16 bytes, four threads' words
  const int width = params.batch.heads * head;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = 1.0f / sums[half];
    const int row = work.queries + place.row + 8 * half;
    Element* const to =
        static_cast<Element*>(params.out) + static_cast<std::size_t>(work.start + row) * width + work.head_index * head;
    const auto word = [&](int w) { return operand_word<Element>(w, half, [&](int i) { return output[i] * inverse; }); };
#pragma unroll
    for (int w = 0; w < head / piece; w += 4) {
      const uint4 block = gather_block(word(w), word(w + 1), word(w + 2), word(w + 3), place.lane);
      if (row < work.length) {
        *reinterpret_cast<uint4*>(to + piece * (w + place.lane % 4)) = block;
      }
    }
  }
}

/// Recomputes those of a warp's 16 rows whose sum is out of range. @param sums of the thread's two rows
template <class Element>
__device__ void repair(const float (&sums)[2], const Params& params, const Work& work, const Place& place) {
  __syncwarp(); // behind the stores of other lanes
  for (int half = 0; half < 2; ++half) {
    const bool inside = work.queries + place.row + 8 * half < work.length;
    const bool right = sums[half] > 1 / sum_limit && sums[half] < sum_limit;
    unsigned wrong = __ballot_sync(all_lanes, inside && !right);
    while (wrong != 0) { // four lanes a row
      const int lane = __ffs(static_cast<int>(wrong)) - 1;
      attend_row<Element>(params, work, work.queries + place.row - place.lane / 4 + lane / 4 + 8 * half);
      wrong &= ~(0xfu << lane);
    }
  }
}

/// What a consumer thread keeps from one piece of work to the next.
template <class Element>
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

  __device__ void done_with_queries() {
    release(shared.queries_empty(tile.at));
    tile.advance();
  }

  /// Lets a tile pass that this warpgroup has no queries of. Whatever it releases it waits for first, or a release
  /// could count for the turn before.
  __device__ void skip(const Work& work) {
    barrier_wait(shared.queries_full(tile.at), tile.parity);
    done_with_queries();
    for (int block = 0; block < work.blocks; ++block) {
      barrier_wait(shared.keys_full(keys.at), keys.parity);
      done_with_keys();
      barrier_wait(shared.values_full(values.at), values.parity);
      done_with_values();
    }
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
    mask(scores, work.length - work.first_key(0), place);
    const bool shifted = find_references(scores, state);
    exponentiate(scores, state, shifted);
    round_probabilities(scores, probabilities);
#pragma unroll 1
    for (int block = 1; block < work.blocks; ++block) {
      next_scores(scores, queries);
      next_output(output, probabilities);
      wgmma_wait<1>();
      done_with_keys();
      exponentiate(scores, state, shifted);
      wgmma_wait<0>();
      done_with_values();
      round_probabilities(scores, probabilities);
    }
    done_with_queries();
    next_output(output, probabilities);
    wgmma_wait<0>();
    done_with_values();
    const float sums[2] = {quad_sum(state.sum[0]), quad_sum(state.sum[1])};
    store_output<Element>(output, sums, params, work, place);
    repair<Element>(sums, params, work, place);
  }
};

/// @param Element of the result
template <class Element>
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
  Consumer<Element> consumer{params, shared};
  const int items = params.batch.num_tiles * params.batch.heads;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const Work work(params.batch, item);
    if (work.queries + consumer.place.group * 64 < work.length) {
      consumer.attend(work);
    } else {
      consumer.skip(work);
    }
  }
}

} // namespace

template <class Element>
void flow_attention(const __nv_bfloat16* qkv, const AttentionBatch& batch, Element* out, cudaStream_t stream) {
  constexpr auto kernel = attention_kernel<Element>;
  Params params{};
  params.queries = matrix_map(qkv, batch.rows, 3 * batch.heads * head, attention_tile, head);
  params.blocks = matrix_map(qkv, batch.rows, 3 * batch.heads * head, keys_per_block, head);
  params.qkv = qkv;
  params.out = out;
  params.batch = batch;
  int device = 0;
  int multiprocessors = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const int blocks = std::min(batch.num_tiles * batch.heads, multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template void flow_attention(const __nv_bfloat16*, const AttentionBatch&, __nv_bfloat16*, cudaStream_t);
template void flow_attention(const __nv_bfloat16*, const AttentionBatch&, __nv_fp8_e4m3*, cudaStream_t);

} // namespace audiobookd::engine::cuda
