// The fused kernel of the flow estimator (see flow_kernels_fused.h): one producer warpgroup that only starts copies,
// two consumer warpgroups that each carry 64 rows.
//
// Weights stream through a ring of blocks in the order in which they are used; two thread blocks of a cluster share
// every weight block that they load. Activations come through four slots; once a chain's first product is done the
// slots hold the normalised rows instead, until the tile ends.
#pragma once

#include "engine/cuda/flow_kernels_fused.h"
#include "engine/cuda/row_tiles.cuh"

#include <cstdint>
#include <cuda_bf16.h>

namespace audiobookd::engine::cuda {

/// What a launch of the kernel computes.
enum class Chain { convolution, convolution_mish, entrance, block, last_block };

inline constexpr int convolution_taps = 3;
inline constexpr int cluster_blocks = 2;
inline constexpr int num_slots = 4;  // of activations, 128 x 64
inline constexpr int num_stages = 5; // of weights, 256 x 64 or twice 128 x 64
inline constexpr int slot_bytes = tile_rows * tile_depth * 2;
inline constexpr int stage_bytes = fused_channels * tile_depth * 2;
inline constexpr int alignment = 1024;
inline constexpr int num_barriers = 2 * (num_slots + num_stages);
inline constexpr int shared_bytes = alignment + num_slots * slot_bytes + num_stages * stage_bytes + 8 * num_barriers;

struct FusedParams {
  CUtensorMap first;  // operand of the first product
  CUtensorMap second; // of the shortcut
  int first_chunks;   // of 64 columns
  int second_chunks;
  int chunks_per_tap; // 0: no convolution
  const __nv_bfloat16* weights;
  const int* positions;
  const float* bias;   // of the first product
  NormWeights norm;    // after a convolution
  const float* addend; // after the activation or the first norm: time, the bias of the second product; may be null
  const float* widen_bias;
  const float* projection_bias;
  float* residual;
  __nv_bfloat16* out;
  int rows;
  int tiles;
  int zero; // always 0
};

namespace fused {

constexpr int qkv_chunks = 3 * fused_inner / fused_channels;
constexpr int depth_chunks = fused_channels / tile_depth;
constexpr int hidden_columns = 128; // of the feed-forward layer at a time
constexpr int hidden_chunks = fused_feed_forward / hidden_columns;
constexpr int consumer_warps = 2 * warpgroup / 32;
constexpr int producer_registers = 24;
constexpr int consumer_registers = 240;

using Sums = float[fused_channels / 2];

template <Chain chain>
constexpr bool is_convolution =
    chain == Chain::convolution || chain == Chain::convolution_mish || chain == Chain::entrance;
template <Chain chain>
constexpr bool has_feed_forward = chain == Chain::block || chain == Chain::last_block;
template <Chain chain>
constexpr bool has_projections = chain == Chain::block || chain == Chain::entrance;
/// Whether the slots hold normalised rows at the end.
template <Chain chain>
constexpr bool keeps_slots = has_feed_forward<chain> || has_projections<chain>;

/// Addresses in shared memory.
struct Shared {
  std::uint32_t base;
  __device__ std::uint32_t slot(int i) const { return base + i * slot_bytes; }
  __device__ std::uint32_t stage(int i) const { return base + num_slots * slot_bytes + i * stage_bytes; }
  __device__ std::uint32_t barriers() const { return stage(num_stages); }
  __device__ std::uint32_t slot_full(int i) const { return barriers() + 8 * i; }
  __device__ std::uint32_t slot_empty(int i) const { return slot_full(num_slots + i); }
  __device__ std::uint32_t stage_full(int i) const { return slot_full(2 * num_slots + i); }
  __device__ std::uint32_t stage_empty(int i) const { return stage_full(num_stages + i); }
};

/// The tiles of this thread block: every block of a cluster makes the same number of turns.
struct Tiles {
  int at;
  int step;
  int end; // first tile of a turn beyond the last
  __device__ explicit Tiles(const FusedParams& params)
      : at(static_cast<int>(blockIdx.x)), step(static_cast<int>(gridDim.x)),
        end((params.tiles + cluster_blocks - 1) / cluster_blocks * cluster_blocks) {}
};

// ------------------------------------------------------------------------------------------------ the producer

/// Activations of every tile; one thread.
template <Chain chain>
__device__ void load_activations(const FusedParams& params, const Shared& shared) {
  Turn<num_slots> turn;
  for (Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
    const int row = tile.at * tile_rows;
    const auto load = [&](const CUtensorMap& map, int column, int from_row) {
      barrier_wait(shared.slot_empty(turn.at), turn.parity ^ 1);
      barrier_expect(shared.slot_full(turn.at), slot_bytes);
      tensor_load(shared.slot(turn.at), &map, column, from_row, shared.slot_full(turn.at));
      turn.advance();
    };
    for (int i = 0; i < params.first_chunks; ++i) {
      if constexpr (is_convolution<chain>) {
        const int tap = i / params.chunks_per_tap;
        load(params.first, i % params.chunks_per_tap * tile_depth, row - (convolution_taps - 1 - tap));
      } else {
        load(params.first, i * tile_depth, row);
      }
    }
    if constexpr (chain == Chain::entrance) {
      for (int i = 0; i < params.second_chunks; ++i) {
        load(params.second, i * tile_depth, row);
      }
    }
  }
}

template <Chain chain>
__device__ int blocks_per_tile(const FusedParams& params) {
  int blocks = params.first_chunks;
  if constexpr (chain == Chain::entrance) {
    blocks += params.second_chunks;
  }
  if constexpr (has_feed_forward<chain>) {
    blocks += 2 * fused_feed_forward / tile_depth;
  }
  if constexpr (has_projections<chain>) {
    blocks += qkv_chunks * depth_chunks;
  }
  return blocks;
}

/// Weights of every tile; one thread. Each block of the cluster loads its share for all.
template <Chain chain>
__device__ void load_weights(const FusedParams& params, const Shared& shared) {
  constexpr int share = stage_bytes / cluster_blocks;
  const int blocks = blocks_per_tile<chain>(params);
  const std::uint32_t rank = cluster_rank();
  const char* const from = reinterpret_cast<const char*>(params.weights) + rank * share;
  Turn<num_stages> turn;
  for (Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
    for (int i = 0; i < blocks; ++i) {
      barrier_wait(shared.stage_empty(turn.at), turn.parity ^ 1);
      barrier_expect(shared.stage_full(turn.at), stage_bytes);
      bulk_load_multicast(shared.stage(turn.at) + rank * share, from + static_cast<std::size_t>(i) * stage_bytes, share,
                          shared.stage_full(turn.at), (1u << cluster_blocks) - 1);
      turn.advance();
    }
  }
}

// ----------------------------------------------------------------------------------------------- the consumers

/// Both rings as a consumer sees them.
struct Rings {
  const Shared& shared;
  bool signals; // one lane a warp
  Turn<num_slots> slot{};
  Turn<num_stages> stage{};

  __device__ void release_slot(int i) const {
    if (signals) {
      barrier_arrive(shared.slot_empty(i));
    }
  }
  __device__ void release_stage(int i) const {
    if (signals) {
      for (int block = 0; block < cluster_blocks; ++block) {
        barrier_arrive_at(shared.stage_empty(i), block);
      }
    }
  }
  /// The next weight block's address once it is there.
  __device__ std::uint32_t wait_stage() const {
    barrier_wait(shared.stage_full(stage.at), stage.parity);
    return shared.stage(stage.at);
  }
  __device__ std::uint32_t wait_slot() const {
    barrier_wait(shared.slot_full(slot.at), slot.parity);
    return shared.slot(slot.at);
  }
};

/// sums += 64 columns of A times a weight block of 256 outputs.
__device__ void multiply(Sums& sums, std::uint32_t a, std::uint32_t weights) {
  const std::uint64_t left = wgmma_operand(a);
  const std::uint64_t right = wgmma_operand(weights);
#pragma unroll
  for (int k = 0; k < tile_depth / 16; ++k) {
    wgmma(sums, left + 2 * k, right + 2 * k, 1);
  }
}

/// Zeroes this warpgroup's rows of a slot that lie before their sequence, @p back rows above the row itself.
__device__ void zero_foreign_rows(std::uint32_t slot, const Place& place, int position, int back) {
  if (position < back) {
    const std::uint32_t half_row =
        slot + (place.group * 64 + place.thread / 2) * (tile_depth * 2) + place.thread % 2 * tile_depth;
    for (int i = 0; i < 4; ++i) {
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};\n" ::"r"(half_row + 16 * i), "r"(0) : "memory");
    }
  }
  async_proxy_fence();
  named_barrier(place.barrier(), warpgroup);
}

/// sums += the next @p chunks (at least one) activation slots times the next weight blocks. A slot is released when it
/// was read, but not the last num_slots ones if @p keep_last.
/// @param position of row place.thread / 2 in its sequence. @param back of a chunk: how many rows above its own row a
/// tap reads.
template <class Back>
__device__ void multiply_slots(Sums& sums, Rings& rings, const Place& place, int chunks, bool keep_last, int position,
                               const Back& back) {
  int last_slot = 0;
  int last_stage = 0;
  const auto release = [&](int chunk) {
    if (!keep_last || chunk < chunks - num_slots) {
      rings.release_slot(last_slot);
    }
    rings.release_stage(last_stage);
  };
  int i = 0;
#pragma unroll 1
  do { // so that the compiler sees no way around the first product
    const std::uint32_t slot = rings.wait_slot();
    if (back(i) > 0) {
      zero_foreign_rows(slot, place, position, back(i));
    }
    const std::uint32_t weights = rings.wait_stage();
    wgmma_fence();
    multiply(sums, slot + place.group * 64 * tile_depth * 2, weights);
    wgmma_commit();
    if (i > 0) {
      wgmma_wait<1>();
      release(i - 1);
    }
    last_slot = rings.slot.at;
    last_stage = rings.stage.at;
    rings.slot.advance();
    rings.stage.advance();
  } while (++i < chunks);
  wgmma_wait<0>();
  release(chunks - 1);
}

/// Calls f(sums of a column pair of the upper row, of the lower row, 8 j) for all of a thread's columns 8 j +
/// place.column.
template <class F>
__device__ void for_columns(Sums& sums, const F& f) {
#pragma unroll
  for (int j = 0; j < fused_channels / 8; ++j) {
    f(sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3], 8 * j);
  }
}

/// The same for an f(…, 8 j, shift) that loads values of its columns and returns something made from them. The compiler
/// would make all loads at once and spill registers, so every 128th column's shift, always 0, depends on what came
/// before.
template <class F>
__device__ void for_columns_with_loads(Sums& sums, const Place& place, const F& f) {
  int shift = 0;
#pragma unroll
  for (int j = 0; j < fused_channels / 8; ++j) {
    const float made = f(sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3], 8 * j, shift);
    if (j % 16 == 15) {
      shift = __float_as_int(made) & place.zero;
    }
  }
}

/// sums = values of the columns.
__device__ void start_from(Sums& sums, const Place& place, const float* values) {
  const float* const own = values + place.column;
  for_columns(sums, [&](float& a, float& b, float& c, float& d, int column) {
    const float2 v = pair_at(own + column);
    a = c = v.x;
    b = d = v.y;
  });
}

/// sums += values of the columns.
__device__ void add_columns(Sums& sums, const Place& place, const float* values) {
  const float* const own = values + place.column;
  for_columns_with_loads(sums, place, [&](float& a, float& b, float& c, float& d, int column, int shift) {
    const float2 v = pair_at(own + shift + column);
    a += v.x;
    b += v.y;
    c += v.x;
    d += v.y;
    return d;
  });
}

/// What normalises a thread's two rows: x scale + shift.
struct Moments {
  float scale[2];
  float shift[2];
};

__device__ Moments moments(Sums& sums) {
  float upper = 0;
  float lower = 0;
  for_columns(sums, [&](float a, float b, float c, float d, int) {
    upper += a + b;
    lower += c + d;
  });
  const float means[2] = {quad_sum(upper) / fused_channels, quad_sum(lower) / fused_channels};
  upper = 0;
  lower = 0;
  for_columns(sums, [&](float a, float b, float c, float d, int) {
    upper += (a - means[0]) * (a - means[0]) + (b - means[0]) * (b - means[0]);
    lower += (c - means[1]) * (c - means[1]) + (d - means[1]) * (d - means[1]);
  });
  Moments m{};
  m.scale[0] = rsqrtf(quad_sum(upper) / fused_channels + flow_norm_epsilon);
  m.scale[1] = rsqrtf(quad_sum(lower) / fused_channels + flow_norm_epsilon);
  // Not x - mean again: the compiler would keep all of those, and spill registers.
  m.shift[0] = -means[0] * m.scale[0];
  m.shift[1] = -means[1] * m.scale[1];
  return m;
}

/// LayerNorm of @p sums without scale and shift into the slots, in the layout of wgmma_operand(); the sums stay.
__device__ void normalise_into_slots(Sums& sums, const Place& place, const Shared& shared) {
  const Moments m = moments(sums);
  const std::uint32_t upper = shared.base + place.row * (tile_depth * 2) + 2 * place.column;
  for_columns(sums, [&](float a, float b, float c, float d, int column) {
    const std::uint32_t first = pack(fmaf(a, m.scale[0], m.shift[0]), fmaf(b, m.scale[0], m.shift[0]));
    const std::uint32_t second = pack(fmaf(c, m.scale[1], m.shift[1]), fmaf(d, m.scale[1], m.shift[1]));
    const int piece = column / 8 % 8 ^ place.row % 8; // the same for both rows, which are 8 apart
    const std::uint32_t at = upper + column / tile_depth * slot_bytes + 16 * piece;
    asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(at), "r"(first) : "memory");
    asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(at + 8 * tile_depth * 2), "r"(second) : "memory");
  });
  async_proxy_fence();
  named_barrier(place.barrier(), warpgroup);
}

/// x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2).
__device__ float mish_of(float x) {
  const float e = __expf(fminf(x, 20.0f));
  const float n = e * (e + 2.0f);
  return x * __fdividef(n, n + 2.0f);
}

/// Mish(LayerNorm(sums)) + addend of the columns.
__device__ void norm_and_mish(Sums& sums, const Place& place, const NormWeights& norm, const float* addend) {
  const Moments m = moments(sums);
  const float* const weight = norm.weight + place.column;
  const float* const bias = norm.bias + place.column;
  const float* const own = addend + place.column;
  for_columns_with_loads(sums, place, [&](float& a, float& b, float& c, float& d, int column, int shift) {
    const float2 w = pair_at(weight + shift + column);
    const float2 v = pair_at(bias + shift + column);
    const float2 plus = pair_at(own + shift + column);
    a = mish_of(fmaf(fmaf(a, m.scale[0], m.shift[0]), w.x, v.x)) + plus.x;
    b = mish_of(fmaf(fmaf(b, m.scale[0], m.shift[0]), w.y, v.y)) + plus.y;
    c = mish_of(fmaf(fmaf(c, m.scale[1], m.shift[1]), w.x, v.x)) + plus.x;
    d = mish_of(fmaf(fmaf(d, m.scale[1], m.shift[1]), w.y, v.y)) + plus.y;
    return d;
  });
}

/// x / 2 (1 + erf(x / sqrt 2)) with erf as the tanh of a polynomial fitted to it: within 2.5e-5 of GELU, beside the
/// 2^-11 of the instruction, a sixteenth of bf16's rounding.
__device__ float gelu_of(float x) {
  const float square = fminf(x * x, 16.0f); // beyond that erf is 1
  const float slope = fmaf(fmaf(-3.5151e-4f, square, 0.0370056f), square, 0.7975079f);
  float t = 0;
  asm("tanh.approx.f32 %0, %1;\n" : "=f"(t) : "f"(x * slope));
  const float half = 0.5f * x;
  return fmaf(half, t, half);
}

/// Stores 256 columns in bf16, 16 bytes a lane. @param out at the tile's first row. @param rows left from there.
__device__ void store_rows(const Sums& sums, const Place& place, __nv_bfloat16* out, int stride, int rows) {
  __nv_bfloat16* const upper = out + place.row * stride + 8 * (place.lane % 4);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    __nv_bfloat16* const own = upper + 8 * half * stride;
    const bool inside = place.row + 8 * half < rows;
#pragma unroll
    for (int j = 0; j < fused_channels / 8; j += 4) {
      const int i = 4 * j + 2 * half;
      const uint4 block = gather_block(pack(sums[i], sums[i + 1]), pack(sums[i + 4], sums[i + 5]),
                                       pack(sums[i + 8], sums[i + 9]), pack(sums[i + 12], sums[i + 13]), place.lane);
      if (inside) {
        *reinterpret_cast<uint4*>(own + 8 * j) = block;
      }
    }
  }
}

/// sums = residual + values of the columns. @param residual at the tile's first row.
__device__ void start_from_residual(Sums& sums, const Place& place, const float* residual, int rows,
                                    const float* values) {
  const float* const own = values + place.column;
  const float* const upper = residual + place.row * fused_channels + place.column;
  const float* const lower = upper + 8 * fused_channels;
  const bool has_upper = place.row < rows;
  const bool has_lower = place.row + 8 < rows;
  for_columns_with_loads(sums, place, [&](float& a, float& b, float& c, float& d, int column, int shift) {
    const float2 v = pair_at(own + shift + column);
    const float2 x = has_upper ? pair_at(upper + shift + column) : v;
    const float2 y = has_lower ? pair_at(lower + shift + column) : v;
    a = x.x + v.x;
    b = x.y + v.y;
    c = y.x + v.x;
    d = y.y + v.y;
    return d;
  });
}

__device__ void store_residual(Sums& sums, const Place& place, float* residual, int rows) {
  float* const upper = residual + place.row * fused_channels + place.column;
  float* const lower = upper + 8 * fused_channels;
  if (place.row < rows) {
    for_columns(sums, [&](float a, float b, float, float, int column) {
      *reinterpret_cast<float2*>(upper + column) = make_float2(a, b);
    });
  }
  if (place.row + 8 < rows) {
    for_columns(sums, [&](float, float, float c, float d, int column) {
      *reinterpret_cast<float2*>(lower + column) = make_float2(c, d);
    });
  }
}

/// hidden = gelu(hidden + bias), as the left operand of the next product. @param bias of the hidden columns.
__device__ void activate(const float (&hidden)[hidden_columns / 2], const float* bias, const Place& place,
                         std::uint32_t (&out)[hidden_columns / 16][4]) {
  const float* const own = bias + place.column;
  int shift = 0;
#pragma unroll
  for (int j = 0; j < hidden_columns / 8; ++j) {
    const float2 b = pair_at(own + shift + 8 * j);
    out[j / 2][j % 2 * 2] = pack(gelu_of(hidden[4 * j] + b.x), gelu_of(hidden[4 * j + 1] + b.y));
    out[j / 2][j % 2 * 2 + 1] = pack(gelu_of(hidden[4 * j + 2] + b.x), gelu_of(hidden[4 * j + 3] + b.y));
    if (j % 4 == 3) { // as in for_columns_with_loads()
      shift = static_cast<int>(out[j / 2][0]) & place.zero;
    }
  }
}

/// The warpgroups take turns at the tensor cores: while one multiplies, the other computes activations.
struct Turns {
  int own, other;
  __device__ explicit Turns(const Place& place) : own(3 + place.group), other(4 - place.group) {}
  __device__ void begin() const { named_barrier(own, 2 * warpgroup); }
  __device__ void end() const { named_barrier_arrive(other, 2 * warpgroup); }
};

/// sums += narrow(gelu(widen(slots) + bias)), 128 hidden columns at a time.
__device__ void feed_forward(Sums& sums, Rings& rings, const Place& place, const float* bias) {
  const Turns turns(place);
  std::uint32_t active[hidden_columns / 16][4];
  const std::uint32_t rows = rings.shared.base + place.group * 64 * tile_depth * 2;
  for (int chunk = 0; chunk <= hidden_chunks; ++chunk) {
    turns.begin();
    if (chunk > 0) {
      int used[2];
#pragma unroll
      for (int block = 0; block < 2; ++block) {
        const std::uint64_t weights = wgmma_operand(rings.wait_stage());
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          wgmma<0>(sums, active[4 * block + k], weights + 2 * k, 1);
        }
        used[block] = rings.stage.at;
        rings.stage.advance();
      }
      wgmma_commit();
      wgmma_wait<0>();
      rings.release_stage(used[0]);
      rings.release_stage(used[1]);
    }
    if (chunk == hidden_chunks) {
      turns.end();
      break;
    }
    float hidden[hidden_columns / 2];
    int used[2];
#pragma unroll
    for (int block = 0; block < 2; ++block) {
      const std::uint32_t weights = rings.wait_stage();
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) { // two tiles of 64 inputs
        const int tile = 2 * block + k / 4;
        wgmma(hidden, wgmma_operand(rows + tile * slot_bytes) + 2 * (k % 4),
              wgmma_operand(weights + k / 4 * (stage_bytes / 2)) + 2 * (k % 4), block + k > 0 ? 1 : 0);
      }
      used[block] = rings.stage.at;
      rings.stage.advance();
    }
    wgmma_commit();
    turns.end();
    wgmma_wait<0>();
    rings.release_stage(used[0]);
    rings.release_stage(used[1]);
    activate(hidden, bias + chunk * hidden_columns, place, active);
  }
}

/// out = slots times the query, key and value weights, plus their bias, 256 columns at a time.
__device__ void project(Sums& sums, Rings& rings, const Place& place, const float* bias, __nv_bfloat16* out, int rows) {
  const std::uint32_t left = rings.shared.base + place.group * 64 * tile_depth * 2;
  for (int chunk = 0; chunk < qkv_chunks; ++chunk) {
    int used[depth_chunks];
    start_from(sums, place, bias + chunk * fused_channels);
#pragma unroll
    for (int k = 0; k < depth_chunks; ++k) {
      const std::uint32_t weights = rings.wait_stage();
      wgmma_fence();
      multiply(sums, left + k * slot_bytes, weights);
      used[k] = rings.stage.at;
      rings.stage.advance();
    }
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int k = 0; k < depth_chunks; ++k) {
      rings.release_stage(used[k]);
    }
    store_rows(sums, place, out + chunk * fused_channels, 3 * fused_inner, rows);
  }
}

/// sums = the convolution of the tile's rows, with zeros before each sequence.
__device__ void convolve(Sums& sums, Rings& rings, const Place& place, const FusedParams& params, int first_row) {
  const int row = first_row + place.group * 64 + place.thread / 2;
  const int position = row < params.rows ? params.positions[row] : convolution_taps;
  start_from(sums, place, params.bias);
  multiply_slots(sums, rings, place, params.first_chunks, false, position,
                 [&](int chunk) { return convolution_taps - 1 - chunk / params.chunks_per_tap; });
}

template <Chain chain>
__device__ void compute_tile(Rings& rings, const Place& place, const FusedParams& params, int tile) {
  Sums sums;
  const int first_row = tile * tile_rows;
  const int rows = params.rows - first_row; // not positive for the idle half of a last turn
  const auto no_shift = [](int) { return 0; };
  float* const residual = params.residual + static_cast<std::ptrdiff_t>(first_row) * fused_channels;
  if constexpr (is_convolution<chain>) {
    convolve(sums, rings, place, params, first_row);
    if constexpr (chain != Chain::convolution) {
      norm_and_mish(sums, place, params.norm, params.addend);
    }
    if constexpr (chain == Chain::entrance) {
      multiply_slots(sums, rings, place, params.second_chunks, true, 0, no_shift);
    }
  } else {
    start_from_residual(sums, place, residual, rows, params.bias);
    multiply_slots(sums, rings, place, params.first_chunks, true, 0, no_shift);
    normalise_into_slots(sums, place, rings.shared);
    add_columns(sums, place, params.addend);
    feed_forward(sums, rings, place, params.widen_bias);
  }
  if constexpr (has_projections<chain>) {
    store_residual(sums, place, residual, rows);
    normalise_into_slots(sums, place, rings.shared);
    __nv_bfloat16* const out = params.out + static_cast<std::ptrdiff_t>(first_row) * 3 * fused_inner;
    project(sums, rings, place, params.projection_bias, out, rows);
  } else {
    store_rows(sums, place, params.out + static_cast<std::ptrdiff_t>(first_row) * fused_channels, fused_channels, rows);
  }
  if constexpr (keeps_slots<chain>) {
    for (int i = 0; i < num_slots; ++i) {
      rings.release_slot(i);
    }
  }
}

__device__ void init_barriers(const Shared& shared) {
  for (int i = 0; i < num_slots; ++i) {
    barrier_init(shared.slot_full(i), 1);
    barrier_init(shared.slot_empty(i), consumer_warps);
  }
  for (int i = 0; i < num_stages; ++i) {
    barrier_init(shared.stage_full(i), 1);
    barrier_init(shared.stage_empty(i), consumer_warps * cluster_blocks);
  }
  barrier_init_fence();
}

} // namespace fused

template <Chain chain>
__global__ void __launch_bounds__(tile_threads, 1) fused_kernel(const __grid_constant__ FusedParams params) {
  extern __shared__ char memory[];
  const fused::Shared shared{(shared_address(memory) + alignment - 1) / alignment * alignment};
  if (threadIdx.x == 0) {
    fused::init_barriers(shared);
  }
  __syncthreads();
  cluster_sync();
  if (threadIdx.x < warpgroup) {
    give_registers<fused::producer_registers>();
    if (threadIdx.x == 0) {
      fused::load_weights<chain>(params, shared);
    } else if (threadIdx.x == 32) {
      fused::load_activations<chain>(params, shared);
    }
    __syncwarp();
  } else {
    take_registers<fused::consumer_registers>();
    const Place place(params.zero);
    if constexpr (fused::has_feed_forward<chain>) {
      if (place.group == 1) {
        fused::Turns(place).end(); // the other warpgroup goes first
      }
    }
    fused::Rings rings{shared, place.lane == 0};
    for (fused::Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
      fused::compute_tile<chain>(rings, place, params, tile.at);
    }
    if constexpr (fused::has_feed_forward<chain>) {
      if (place.group == 0) {
        fused::Turns(place).begin(); // takes the last turn that was given
      }
    }
  }
  cluster_sync();
}

} // namespace audiobookd::engine::cuda
