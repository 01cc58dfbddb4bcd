// The fused kernel of the flow estimator (see flow_kernels_fused.h): one producer warpgroup that only starts copies,
// two consumer warpgroups that each carry 64 rows.
//
// Weights stream through a ring of blocks in the order in which they are used; two thread blocks of a cluster share
// every weight block that they load. Activations come through four slots for each warpgroup; once a chain's first
// product is done the slots hold the normalised rows instead, until the last product.
//
// In chains with projections or a feed-forward layer the warpgroups take turns at the tensor cores, at most
// `turn_blocks` weight blocks each: while one multiplies, the other normalises, activates and stores.
//
// Products of transformer blocks take bf16 or e4m3 (`Operand`). With e4m3 the residual stream may not be what a product
// adds to, since its sums keep only 14 bits: it waits in shared memory, where the smaller operands leave room for it,
// while the registers hold the sums. It comes and goes by bulk copies.
#pragma once

#include "engine/cuda/flow_kernels_fused.h"
#include "engine/cuda/row_tiles.cuh"

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <type_traits>

namespace audiobookd::engine::cuda {

/// What a launch of the kernel computes.
enum class Chain { convolution, convolution_mish, entrance, block, last_block };

inline constexpr int convolution_taps = 3;
inline constexpr int cluster_blocks = 2;
inline constexpr int group_rows = tile_rows / 2; // of a warpgroup
inline constexpr int num_slots = 4;              // of activations for each warpgroup, 64 x 64
inline constexpr int turn_blocks = 4;            // no more than stages, or the other warpgroup would never get its turn
inline constexpr int alignment = 1024;

template <Chain chain>
inline constexpr bool is_convolution =
    chain == Chain::convolution || chain == Chain::convolution_mish || chain == Chain::entrance;
template <Chain chain>
inline constexpr bool has_feed_forward = chain == Chain::block || chain == Chain::last_block;
template <Chain chain>
inline constexpr bool has_projections = chain == Chain::block || chain == Chain::entrance;
template <Chain chain>
inline constexpr bool takes_turns = has_feed_forward<chain> || has_projections<chain>;

/// How a chain divides its shared memory.
template <Chain chain, class Operand>
struct Memory {
  static constexpr bool holds_residual = has_feed_forward<chain> && is_fp8<Operand>;
  /// Of the chain's first product, and of slots and stages: convolutions are bf16.
  using First = std::conditional_t<holds_residual, __nv_fp8_e4m3, __nv_bfloat16>;
  static constexpr int slot_bytes = group_rows * tile_depth * static_cast<int>(sizeof(First));
  static constexpr int stage_bytes = fused_channels * tile_depth * static_cast<int>(sizeof(First));
  static constexpr int num_stages = holds_residual ? 4 : 5; // of weights, 256 x 64 or twice 128 x 64
  static constexpr int residual_bytes = holds_residual ? group_rows * fused_channels * 4 : 0; // of a warpgroup
  static constexpr int num_barriers = 2 * (2 * num_slots + num_stages) + (holds_residual ? 4 : 0);
  static constexpr int bytes =
      alignment + 2 * num_slots * slot_bytes + num_stages * stage_bytes + 2 * residual_bytes + 8 * num_barriers;
  static_assert(turn_blocks <= num_stages);
};

struct FusedParams {
  CUtensorMap first;  // operand of the first product
  CUtensorMap second; // of the shortcut
  CUtensorMap projections;
  int first_chunks; // of 64 columns
  int second_chunks;
  int chunks_per_tap; // 0: no convolution
  const void* weights;
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
  Fp8Factors factors;
};

namespace fused {

constexpr int qkv_chunks = 3 * fused_inner / fused_channels;
constexpr int depth_chunks = fused_channels / tile_depth;
constexpr int hidden_columns = 128; // of the feed-forward layer at a time
constexpr int hidden_chunks = fused_feed_forward / hidden_columns;
constexpr int group_warps = warpgroup / 32;
constexpr int producer_registers = 24;
constexpr int consumer_registers = 240;

using Sums = float[fused_channels / 2];

/// Addresses in shared memory.
template <class Memory>
struct Shared {
  static constexpr int slot_bytes = Memory::slot_bytes;
  static constexpr int stage_bytes = Memory::stage_bytes;
  static constexpr int num_stages = Memory::num_stages;
  std::uint32_t base;
  __device__ std::uint32_t slot(int group, int i) const { return base + (group * num_slots + i) * slot_bytes; }
  __device__ std::uint32_t stage(int i) const { return slot(2, 0) + i * stage_bytes; }
  __device__ std::uint32_t residual(int group) const { return stage(num_stages) + group * Memory::residual_bytes; }
  __device__ std::uint32_t barriers() const { return residual(2); }
  __device__ std::uint32_t slot_full(int group, int i) const { return barriers() + 8 * (group * num_slots + i); }
  __device__ std::uint32_t slot_empty(int group, int i) const { return slot_full(2 + group, i); }
  __device__ std::uint32_t stage_full(int i) const { return slot_full(4, 0) + 8 * i; }
  __device__ std::uint32_t stage_empty(int i) const { return stage_full(num_stages + i); }
  __device__ std::uint32_t residual_full(int group) const { return stage_full(2 * num_stages + group); }
  __device__ std::uint32_t residual_empty(int group) const { return residual_full(2 + group); }
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

/// One warpgroup's activations of every tile; one thread.
template <Chain chain, class Memory>
__device__ void load_activations(const FusedParams& params, const Shared<Memory>& shared, int group) {
  Turn<num_slots> turn;
  for (Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
    const int row = tile.at * tile_rows + group * group_rows;
    const auto load = [&](const CUtensorMap& map, int column, int from_row) {
      barrier_wait(shared.slot_empty(group, turn.at), turn.parity ^ 1);
      barrier_expect(shared.slot_full(group, turn.at), Memory::slot_bytes);
      tensor_load(shared.slot(group, turn.at), &map, column, from_row, shared.slot_full(group, turn.at));
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

template <class Operand>
constexpr int tile_bytes = fused_channels* tile_depth* static_cast<int>(sizeof(Operand));

template <Chain chain, class Operand, class Memory>
__device__ int blocks_per_tile(const FusedParams& params) {
  int blocks = params.first_chunks;
  if constexpr (chain == Chain::entrance) {
    blocks += params.second_chunks;
  }
  if constexpr (has_feed_forward<chain>) {
    blocks += 2 * fused_feed_forward / tile_depth;
  }
  if constexpr (has_projections<chain>) {
    blocks += qkv_chunks * depth_chunks * tile_bytes<Operand> / Memory::stage_bytes;
  }
  return blocks;
}

/// Asks for the residual stream of a tile to come to the L2 cache.
__device__ void prefetch_residual(const FusedParams& params, int tile) {
  if (tile < params.tiles) {
    const float* const residual = params.residual + static_cast<std::ptrdiff_t>(tile) * tile_rows * fused_channels;
    bulk_prefetch(residual, tile_rows * fused_channels * sizeof(float));
  }
}

/// Weights of every tile; one thread. Each block of the cluster loads its share for all.
template <Chain chain, class Operand, class Memory>
__device__ void load_weights(const FusedParams& params, const Shared<Memory>& shared) {
  constexpr int stage_bytes = Memory::stage_bytes;
  constexpr int share = stage_bytes / cluster_blocks;
  const int blocks = blocks_per_tile<chain, Operand, Memory>(params);
  const std::uint32_t rank = cluster_rank();
  const char* const from = static_cast<const char*>(params.weights) + rank * share;
  Turn<Memory::num_stages> turn;
  for (Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
    for (int i = 0; i < blocks; ++i) {
      // Where a block keeps its tile's residual stream it reads one tile at a time, and asking ahead is in the way.
      if (!Memory::holds_residual && has_feed_forward<chain> && i == blocks - 2 * turn_blocks) {
        prefetch_residual(params, tile.at + tile.step);
      }
      barrier_wait(shared.stage_empty(turn.at), turn.parity ^ 1);
      barrier_expect(shared.stage_full(turn.at), stage_bytes);
      bulk_load_multicast(shared.stage(turn.at) + rank * share, from + static_cast<std::size_t>(i) * stage_bytes, share,
                          shared.stage_full(turn.at), (1u << cluster_blocks) - 1);
      turn.advance();
    }
  }
}

/// Where a tile's residual stream of a warpgroup lies: of one that does not exist where the first one's does.
__device__ float* residual_of(const FusedParams& params, int tile, int group) {
  const std::ptrdiff_t row = tile < params.tiles ? tile * tile_rows + group * group_rows : group * group_rows;
  return params.residual + row * fused_channels;
}

/// The residual stream of every tile into shared memory; one thread.
template <class Memory>
__device__ void load_residual(const FusedParams& params, const Shared<Memory>& shared) {
  std::uint32_t parity = 0;
  for (Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
    for (int group = 0; group < 2; ++group) {
      barrier_wait(shared.residual_empty(group), parity ^ 1);
      barrier_expect(shared.residual_full(group), Memory::residual_bytes);
      bulk_load(shared.residual(group), residual_of(params, tile.at, group), Memory::residual_bytes,
                shared.residual_full(group));
    }
    parity ^= 1;
  }
}

// ----------------------------------------------------------------------------------------------- the consumers

/// One wgmma: 64 rows of A, in shared memory or in registers, by all rows of B.
template <class Operand, class Sums, class Left>
__device__ void product(Sums& sums, const Left& left, std::uint64_t right, int keep) {
  if constexpr (is_fp8<Operand>) {
    wgmma_e4m3(sums, left, right, keep);
  } else if constexpr (std::is_same_v<Left, std::uint64_t>) {
    wgmma(sums, left, right, keep);
  } else {
    wgmma<0>(sums, left, right, keep);
  }
}

/// Describes a tile of 64 columns.
template <class Operand>
__device__ std::uint64_t operand_at(std::uint32_t address) {
  return is_fp8<Operand> ? wgmma_narrow_operand(address) : wgmma_operand(address);
}

template <class Operand>
constexpr int tile_steps = tile_depth* static_cast<int>(sizeof(Operand)) / 32; // products of a tile

template <class Operand, int columns>
using Registers = std::uint32_t[columns * sizeof(Operand) / 32][4];

/// All of a thread's words of as many columns as @p out has.
template <class Operand, int products, class F>
__device__ void fill_registers(std::uint32_t (&out)[products][4], const F& value) {
#pragma unroll
  for (int word = 0; word < 2 * products; ++word) {
    out[word / 2][word % 2 * 2] = operand_word<Operand>(word, 0, value);
    out[word / 2][word % 2 * 2 + 1] = operand_word<Operand>(word, 1, value);
  }
}

/// The warpgroups' turns at the tensor cores. A turn ends when its products are started, not when they are done.
template <bool taken>
struct Turns {
  int own, other; // hardware barriers
  __device__ explicit Turns(const Place& place) : own(3 + place.group), other(4 - place.group) {}
  __device__ void begin() const {
    if constexpr (taken) {
      named_barrier(own, 2 * warpgroup);
    }
  }
  __device__ void end() const {
    if constexpr (taken) {
      named_barrier_arrive(other, 2 * warpgroup);
    }
  }
};

/// Both rings as a consumer sees them.
template <class Memory>
struct Rings {
  static constexpr int slot_bytes = Memory::slot_bytes;
  static constexpr int stage_bytes = Memory::stage_bytes;
  const Shared<Memory>& shared;
  int group;
  bool signals; // one lane a warp
  Turn<num_slots> slot{};
  Turn<Memory::num_stages> stage{};
  Turn<1> residual{};

  __device__ void release_slot(int i) const {
    if (signals) {
      barrier_arrive(shared.slot_empty(group, i));
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
    barrier_wait(shared.slot_full(group, slot.at), slot.parity);
    return shared.slot(group, slot.at);
  }
  /// @return the place of the slot before
  __device__ int next_slot() {
    const int used = slot.at;
    slot.advance();
    return used;
  }
  /// @return the place of the weight block before
  __device__ int next_stage() {
    const int used = stage.at;
    stage.advance();
    return used;
  }
  /// Where this warpgroup's normalised rows are.
  __device__ std::uint32_t rows() const { return shared.slot(group, 0); }
  __device__ void release_slots() const {
    for (int i = 0; i < num_slots; ++i) {
      release_slot(i);
    }
  }
  /// Where this warpgroup gathers 256 columns of bf16 before they are copied out.
  __device__ std::uint32_t outgoing() const {
    if constexpr (Memory::holds_residual) {
      return shared.residual(group);
    } else {
      return rows();
    }
  }
};

/// sums += 64 columns of A times a weight block of 256 outputs.
template <class Operand>
__device__ void multiply(Sums& sums, std::uint32_t a, std::uint32_t weights) {
  const std::uint64_t left = operand_at<Operand>(a);
  const std::uint64_t right = operand_at<Operand>(weights);
#pragma unroll
  for (int k = 0; k < tile_steps<Operand>; ++k) {
    product<Operand>(sums, left + 2 * k, right + 2 * k, 1);
  }
}

/// Zeroes this warpgroup's rows of a slot that lie before their sequence, @p back rows above the row itself.
__device__ void zero_foreign_rows(std::uint32_t slot, const Place& place, int position, int back) {
  if (position < back) {
    const std::uint32_t half_row = slot + place.thread / 2 * (tile_depth * 2) + place.thread % 2 * tile_depth;
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
template <bool in_turns, class Memory, class Back>
__device__ void multiply_slots(Sums& sums, Rings<Memory>& rings, const Place& place, int chunks, bool keep_last,
                               int position, const Back& back) {
  const Turns<in_turns> turns(place);
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
    const int first = i;
    const int end = in_turns ? min(first + turn_blocks, chunks) : chunks;
    turns.begin();
#pragma unroll 1
    do {
      const std::uint32_t slot = rings.wait_slot();
      if (back(i) > 0) {
        zero_foreign_rows(slot, place, position, back(i));
      }
      const std::uint32_t weights = rings.wait_stage();
      wgmma_fence();
      multiply<typename Memory::First>(sums, slot, weights);
      wgmma_commit();
      if (i > first) {
        wgmma_wait<1>();
        release(i - 1);
      }
      last_slot = rings.next_slot();
      last_stage = rings.next_stage();
    } while (++i < end);
    turns.end();
    wgmma_wait<0>();
    release(i - 1);
  } while (i < chunks);
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

/// LayerNorm without scale and shift of sum i, times the factor that e4m3 rows carry.
template <class Operand>
struct Normal {
  const Sums& sums;
  Moments m;
  __device__ explicit Normal(Sums& sums) : sums(sums), m(moments(sums)) {
    if constexpr (is_fp8<Operand>) {
      for (int half = 0; half < 2; ++half) {
        m.scale[half] *= fp8_norm_scale;
        m.shift[half] *= fp8_norm_scale;
      }
    }
  }
  __device__ float operator()(int i) const { return fmaf(sums[i], m.scale[i / 2 % 2], m.shift[i / 2 % 2]); }
};

/// LayerNorm of @p sums without scale and shift into @p slots, in the layout of operand_at(); the sums stay.
template <class Operand>
__device__ void normalise_into(Sums& sums, const Place& place, std::uint32_t slots) {
  constexpr int row_bytes = tile_depth * static_cast<int>(sizeof(Operand));
  constexpr int pieces = row_bytes / 16; // of a row of a tile
  const Normal<Operand> normal(sums);
  const std::uint32_t upper = slots + place.row % group_rows * row_bytes + 2 * place.column;
#pragma unroll
  for (int word = 0; word < fused_channels / tile_depth * pieces; ++word) { // a piece is a word of each lane of a quad
    const std::uint32_t first = operand_word<Operand>(word, 0, normal);
    const std::uint32_t second = operand_word<Operand>(word, 1, normal);
    const int piece = word % pieces ^ place.row / (8 / pieces) % pieces; // the same for both rows, which are 8 apart
    const std::uint32_t at = upper + word / pieces * group_rows * row_bytes + 16 * piece;
    asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(at), "r"(first) : "memory");
    asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(at + 8 * row_bytes), "r"(second) : "memory");
  }
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
/// @param half_factor half of what the result is multiplied by
__device__ float gelu_of(float x, float half_factor = 0.5f) {
  const float square = fminf(x * x, 16.0f); // beyond that erf is 1
  const float slope = fmaf(fmaf(-3.5151e-4f, square, 0.0370056f), square, 0.7975079f);
  float t = 0;
  asm("tanh.approx.f32 %0, %1;\n" : "=f"(t) : "f"(x * slope));
  const float half = half_factor * x;
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

/// A thread's part of the residual stream of a tile: 32 groups of four sums, the warp's side by side.
/// @param residual at the tile
__device__ float4* own_residual(float* residual, const Place& place) {
  constexpr int per_thread = fused_channels / 8;
  return reinterpret_cast<float4*>(residual) + (place.group * warpgroup + place.thread / 32 * 32) * per_thread +
         place.lane;
}

/// sums = residual + values of the columns.
__device__ void start_from_residual(Sums& sums, const Place& place, float* residual, const float* values) {
  const float4* const own = own_residual(residual, place);
  const float* const own_values = values + place.column;
  for_columns_with_loads(sums, place, [&](float& a, float& b, float& c, float& d, int column, int shift) {
    const float4 x = own[32 * (column / 8) + shift];
    const float2 v = pair_at(own_values + shift + column);
    a = x.x + v.x;
    b = x.y + v.y;
    c = x.z + v.x;
    d = x.w + v.y;
    return d;
  });
}

__device__ void store_residual(const Sums& sums, const Place& place, float* residual) {
  float4* const own = own_residual(residual, place);
#pragma unroll
  for (int j = 0; j < fused_channels / 8; ++j) {
    own[32 * j] = make_float4(sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]);
  }
}

/// A thread's share of the residual stream in shared memory, in the order of own_residual().
template <class Memory>
__device__ std::uint32_t held_residual(const Rings<Memory>& rings, const Place& place) {
  return rings.shared.residual(rings.group) + 16 * (place.thread / 32 * 32 * (fused_channels / 8) + place.lane);
}

/// sums = held residual + sums * factor + values of the columns, which replace what was held if @p keep.
template <bool keep>
__device__ void add_to_residual(Sums& sums, const Place& place, std::uint32_t held, float factor, const float* values) {
  const float* const own_values = values + place.column;
  for_columns_with_loads(sums, place, [&](float& a, float& b, float& c, float& d, int column, int shift) {
    const std::uint32_t at = held + 32 * 16 * (column / 8) + shift;
    const float4 x = load_shared(at);
    const float2 v = pair_at(own_values + shift + column);
    a = fmaf(a, factor, x.x + v.x);
    b = fmaf(b, factor, x.y + v.y);
    c = fmaf(c, factor, x.z + v.x);
    d = fmaf(d, factor, x.w + v.y);
    if constexpr (keep) {
      store_shared(at, make_float4(a, b, c, d));
    }
    return d;
  });
}

__device__ void clear(Sums& sums) {
#pragma unroll
  for (float& x : sums) {
    x = 0;
  }
}

using Hidden = float[hidden_columns / 2];
template <class Operand>
using Active = Registers<Operand, hidden_columns>;

/// A thread's pairs of the bias of the hidden columns.
struct HiddenBias {
  float2 pairs[hidden_columns / 8];
  /// @param values of the first of the hidden columns
  __device__ HiddenBias(const float* values, const Place& place) {
#pragma unroll
    for (int j = 0; j < hidden_columns / 8; ++j) {
      pairs[j] = pair_at(values + place.column + 8 * j);
    }
  }
};

/// gelu(hidden + bias) as the left operand of the next product.
template <class Operand>
__device__ void activate(const Hidden& hidden, const HiddenBias& bias, const Fp8Factors& factors,
                         Active<Operand>& out) {
  fill_registers<Operand>(out, [&](int i) {
    const float b = i % 2 == 0 ? bias.pairs[i / 4].x : bias.pairs[i / 4].y;
    if constexpr (is_fp8<Operand>) {
      return gelu_of(fmaf(hidden[i], factors.widen, b), factors.half_hidden);
    } else {
      return gelu_of(hidden[i] + b);
    }
  });
}

/// Starts sums += active times the next weight block, which holds 64 of the hidden columns. @return its place
template <int block, class Operand, class Memory>
__device__ int start_narrow(Sums& sums, const Active<Operand>& active, Rings<Memory>& rings) {
  const std::uint64_t weights = operand_at<Operand>(rings.wait_stage());
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < tile_steps<Operand>; ++k) {
    product<Operand>(sums, active[tile_steps<Operand> * block + k], weights + 2 * k, 1);
  }
  wgmma_commit();
  return rings.next_stage();
}

/// Starts hidden (+)= the slots' columns of half @p block times the next weight block. @return its place
template <int block, class Operand, class Memory>
__device__ int start_widen(Hidden& hidden, Rings<Memory>& rings) {
  constexpr int steps = tile_steps<Operand>;
  const std::uint32_t weights = rings.wait_stage();
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < 2 * steps; ++k) { // two tiles of 64 inputs
    const int tile = 2 * block + k / steps;
    product<Operand>(hidden, operand_at<Operand>(rings.rows() + tile * Memory::slot_bytes) + 2 * (k % steps),
                     operand_at<Operand>(weights + k / steps * (Memory::stage_bytes / 2)) + 2 * (k % steps),
                     block + k > 0 ? 1 : 0);
  }
  wgmma_commit();
  return rings.next_stage();
}

/// Waits for the products of all but the last @p pending weight blocks and releases @p stage.
template <int pending, class Memory>
__device__ void finish(const Rings<Memory>& rings, int stage) {
  wgmma_wait<pending>();
  rings.release_stage(stage);
}

/// sums += narrow(gelu(widen(slots) + bias)), 128 hidden columns at a time.
template <class Operand, class Memory>
__device__ void feed_forward(Sums& sums, Rings<Memory>& rings, const Place& place, const FusedParams& params) {
  const Turns<true> turns(place);
  const float* const bias = params.widen_bias;
  Active<Operand> active;
  {
    Hidden hidden;
    turns.begin();
    const int first = start_widen<0, Operand>(hidden, rings);
    const int second = start_widen<1, Operand>(hidden, rings);
    turns.end();
    const HiddenBias own(bias, place);
    finish<1>(rings, first);
    finish<0>(rings, second);
    activate<Operand>(hidden, own, params.factors, active);
  }
#pragma unroll 1
  for (int chunk = 1; chunk < hidden_chunks; ++chunk) {
    Hidden hidden;
    turns.begin();
    const int used_first = start_narrow<0, Operand>(sums, active, rings);
    const int used_second = start_narrow<1, Operand>(sums, active, rings);
    finish<1>(rings, used_first);
    const int first = start_widen<0, Operand>(hidden, rings);
    finish<1>(rings, used_second);
    const int second = start_widen<1, Operand>(hidden, rings);
    turns.end();
    const HiddenBias own(bias + chunk * hidden_columns, place);
    finish<1>(rings, first);
    finish<0>(rings, second);
    activate<Operand>(hidden, own, params.factors, active);
  }
  turns.begin();
  const int first = start_narrow<0, Operand>(sums, active, rings);
  const int second = start_narrow<1, Operand>(sums, active, rings);
  turns.end();
  finish<1>(rings, first);
  finish<0>(rings, second);
}

/// Copies 256 columns in bf16 to @p column of the projections by way of shared memory, and does not wait.
/// @param row of this warpgroup's first one
template <class Memory>
__device__ void store_projections(const Sums& sums, const Rings<Memory>& rings, const Place& place,
                                  const CUtensorMap& map, int column, int row) {
  constexpr int box_bytes = group_rows * tile_row_bytes;
  const bool copies = place.thread == 0;
  if (copies) {
    bulk_wait_read(); // the copies before still read that memory
  }
  named_barrier(place.barrier(), warpgroup);
  // A lane names row lane % 8 (+ 8) of column block 2 p (+ 1) for stmatrix.
  const std::uint32_t own_row = place.thread / 32 * 16 + place.lane % 16;
  const std::uint32_t base = rings.outgoing() + own_row * tile_row_bytes;
#pragma unroll
  for (int p = 0; p < fused_channels / 16; ++p) {
    const int i = 8 * p;
    const std::uint32_t piece = (2 * p % 8 + place.lane / 16) ^ (place.lane % 8);
    store_matrices(base + p / 4 * box_bytes + 16 * piece, pack(sums[i], sums[i + 1]), pack(sums[i + 2], sums[i + 3]),
                   pack(sums[i + 4], sums[i + 5]), pack(sums[i + 6], sums[i + 7]));
  }
  async_proxy_fence();
  named_barrier(place.barrier(), warpgroup);
  if (copies) {
    for (int i = 0; i < depth_chunks; ++i) {
      tensor_store(&map, column + i * tile_depth, row, rings.outgoing() + i * box_bytes);
    }
    bulk_commit();
  }
}

/// Query, key and value weights times LayerNorm of @p sums, plus their bias, 256 columns at a time.
template <class Operand, class Memory>
__device__ void project(Sums& sums, Rings<Memory>& rings, const Place& place, const FusedParams& params,
                        int first_row) {
  constexpr int stage_tiles = Memory::stage_bytes / tile_bytes<Operand>;
  constexpr int blocks = depth_chunks / stage_tiles;
  constexpr int steps = tile_steps<Operand>;
  const Turns<true> turns(place);
  Registers<Operand, fused_channels> rows;
  fill_registers<Operand>(rows, Normal<Operand>(sums));
#pragma unroll 1
  for (int chunk = 0; chunk < qkv_chunks; ++chunk) {
    int used[blocks];
    start_from(sums, place, params.projection_bias + chunk * fused_channels);
    turns.begin();
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
      const std::uint32_t weights = rings.wait_stage();
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < stage_tiles * steps; ++k) {
        product<Operand>(sums, rows[stage_tiles * steps * block + k],
                         operand_at<Operand>(weights + k / steps * tile_bytes<Operand>) + 2 * (k % steps), 1);
      }
      wgmma_commit();
      used[block] = rings.next_stage();
      if (block > 0) {
        finish<1>(rings, used[block - 1]);
      }
    }
    turns.end();
    finish<0>(rings, used[blocks - 1]);
    if constexpr (is_fp8<Operand>) {
      const float factor = params.factors.projections[chunk / (qkv_chunks / 3)];
#pragma unroll
      for (float& x : sums) {
        x *= factor;
      }
    }
    store_projections(sums, rings, place, params.projections, chunk * fused_channels,
                      first_row + place.group * group_rows);
  }
  if (place.thread == 0) {
    bulk_wait_read();
  }
}

/// sums = the convolution of the tile's rows, with zeros before each sequence.
template <bool in_turns, class Memory>
__device__ void convolve(Sums& sums, Rings<Memory>& rings, const Place& place, const FusedParams& params,
                         int first_row) {
  const int row = first_row + place.group * group_rows + place.thread / 2;
  const int position = row < params.rows ? params.positions[row] : convolution_taps;
  start_from(sums, place, params.bias);
  multiply_slots<in_turns>(sums, rings, place, params.first_chunks, false, position,
                           [&](int chunk) { return convolution_taps - 1 - chunk / params.chunks_per_tap; });
}

/// Rows that are not shifted.
struct NoShift {
  __device__ int operator()(int /*chunk*/) const { return 0; }
};

/// A transformer block with its residual stream in registers. Its sums are what goes on to the projections.
template <Chain chain, class Memory>
__device__ void pass_block(Sums& sums, Rings<Memory>& rings, const Place& place, const FusedParams& params,
                           float* residual) {
  start_from_residual(sums, place, residual, params.bias);
  multiply_slots<true>(sums, rings, place, params.first_chunks, true, 0, NoShift());
  normalise_into<__nv_bfloat16>(sums, place, rings.rows());
  add_columns(sums, place, params.addend);
  feed_forward<__nv_bfloat16>(sums, rings, place, params);
  if constexpr (chain == Chain::last_block) {
    rings.release_slots();
  }
}

/// The same in e4m3 with the residual stream in shared memory.
template <Chain chain, class Memory>
__device__ void pass_fp8_block(Sums& sums, Rings<Memory>& rings, const Place& place, const FusedParams& params,
                               int tile) {
  const std::uint32_t held = held_residual(rings, place);
  clear(sums);
  multiply_slots<true>(sums, rings, place, params.first_chunks, true, 0, NoShift());
  barrier_wait(rings.shared.residual_full(rings.group), rings.residual.parity);
  rings.residual.advance();
  add_to_residual<true>(sums, place, held, params.factors.out, params.bias);
  normalise_into<__nv_fp8_e4m3>(sums, place, rings.rows());
  clear(sums);
  feed_forward<__nv_fp8_e4m3>(sums, rings, place, params);
  rings.release_slots();
  add_to_residual<chain == Chain::block>(sums, place, held, params.factors.narrow, params.addend);
  async_proxy_fence();
  named_barrier(place.barrier(), warpgroup);
  if (chain == Chain::block && place.thread == 0 && tile < params.tiles) {
    bulk_store(residual_of(params, tile, rings.group), rings.shared.residual(rings.group), Memory::residual_bytes);
    bulk_commit();
  }
}

/// Lets go of the memory that project() copied from, or that a last block read its residual stream from.
template <class Memory>
__device__ void release_outgoing(const Rings<Memory>& rings, const Place& place) {
  if constexpr (Memory::holds_residual) {
    if (place.thread == 0) {
      barrier_arrive(rings.shared.residual_empty(rings.group));
    }
  } else {
    named_barrier(place.barrier(), warpgroup);
    rings.release_slots();
  }
}

template <Chain chain, class Operand, class Memory>
__device__ void compute_tile(Rings<Memory>& rings, const Place& place, const FusedParams& params, int tile) {
  Sums sums;
  const int first_row = tile * tile_rows;
  const int rows = params.rows - first_row; // not positive for the idle half of a last turn
  float* const residual = params.residual + static_cast<std::ptrdiff_t>(rows > 0 ? first_row : 0) * fused_channels;
  if constexpr (is_convolution<chain>) {
    convolve<takes_turns<chain>>(sums, rings, place, params, first_row);
    if constexpr (chain != Chain::convolution) {
      norm_and_mish(sums, place, params.norm, params.addend);
    }
    if constexpr (chain == Chain::entrance) {
      multiply_slots<true>(sums, rings, place, params.second_chunks, true, 0, NoShift());
    }
  } else if constexpr (Memory::holds_residual) {
    pass_fp8_block<chain>(sums, rings, place, params, tile);
  } else {
    pass_block<chain>(sums, rings, place, params, residual);
  }
  if constexpr (has_projections<chain>) {
    if (!Memory::holds_residual && rows > 0) {
      store_residual(sums, place, residual);
    }
    project<Operand>(sums, rings, place, params, first_row);
    release_outgoing(rings, place);
  } else {
    if constexpr (Memory::holds_residual) {
      release_outgoing(rings, place);
    }
    store_rows(sums, place, params.out + static_cast<std::ptrdiff_t>(first_row) * fused_channels, fused_channels, rows);
  }
}

template <class Memory>
__device__ void init_barriers(const Shared<Memory>& shared) {
  for (int group = 0; group < 2; ++group) {
    for (int i = 0; i < num_slots; ++i) {
      barrier_init(shared.slot_full(group, i), 1);
      barrier_init(shared.slot_empty(group, i), group_warps);
    }
    if constexpr (Memory::holds_residual) {
      barrier_init(shared.residual_full(group), 1);
      barrier_init(shared.residual_empty(group), 1);
    }
  }
  for (int i = 0; i < Memory::num_stages; ++i) {
    barrier_init(shared.stage_full(i), 1);
    barrier_init(shared.stage_empty(i), 2 * group_warps * cluster_blocks);
  }
  barrier_init_fence();
}

template <Chain chain, class Operand, class Memory>
__device__ void produce(const FusedParams& params, const Shared<Memory>& shared) {
  if (threadIdx.x == 0) {
    load_weights<chain, Operand>(params, shared);
  } else if (threadIdx.x == 32 || threadIdx.x == 64) {
    load_activations<chain>(params, shared, static_cast<int>(threadIdx.x) / 32 - 1);
  }
  if constexpr (Memory::holds_residual) {
    if (threadIdx.x == 96) {
      load_residual(params, shared);
    }
  }
  __syncwarp();
}

template <Chain chain, class Operand, class Memory>
__device__ void consume(const FusedParams& params, const Shared<Memory>& shared) {
  const Place place(params.zero);
  const Turns<takes_turns<chain>> turns(place);
  if (place.group == 1) {
    turns.end(); // the other warpgroup goes first
  }
  Rings<Memory> rings{shared, place.group, place.lane == 0};
  for (Tiles tile(params); tile.at < tile.end; tile.at += tile.step) {
    compute_tile<chain, Operand>(rings, place, params, tile.at);
  }
  if (place.group == 0) {
    turns.begin(); // takes the last turn that was given
  }
}

} // namespace fused

/// @param Operand of transformer blocks' products: the projections, the output and the feed-forward layer
template <Chain chain, class Operand>
__global__ void __launch_bounds__(tile_threads, 1) fused_kernel(const __grid_constant__ FusedParams params) {
  extern __shared__ char memory[];
  const fused::Shared<Memory<chain, Operand>> shared{(shared_address(memory) + alignment - 1) / alignment * alignment};
  if (threadIdx.x == 0) {
    fused::init_barriers(shared);
  }
  __syncthreads();
  cluster_sync();
  if (threadIdx.x < warpgroup) {
    give_registers<fused::producer_registers>();
    fused::produce<chain, Operand>(params, shared);
  } else {
    take_registers<fused::consumer_registers>();
    fused::consume<chain, Operand>(params, shared);
  }
  cluster_sync();
}

} // namespace audiobookd::engine::cuda
