// Attention with relative positions in the manner of FlashAttention-2 (Dao 2023), with the tensor cores' warp-wide
// products (mma.sync, any GPU from sm_80 on).
//
// A block carries 128 queries of one head, a warp 16 of them, over blocks of 64 keys. A warp multiplies its queries
// with the 79 rows of the position table that its queries and the block's keys can be apart, and reads the result back
// skewed: row i one place further left than row i - 1. The table's rows go through a ring, of which a block of keys
// replaces a quarter.
#include "engine/cuda/flow_encoder_kernels.h"

#include <algorithm>
#include <c10/cuda/CUDAException.h>
#include <cuda_fp16.h>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::cuda {
namespace {

constexpr int head = encoder_head_size;
constexpr int warps = 8;
constexpr int threads = 32 * warps;
constexpr int warp_queries = 16;
constexpr int tile_queries = warps * warp_queries;
constexpr int block_keys = 64;
constexpr int row_bytes = head * 2;
constexpr int block_bytes = block_keys * row_bytes;
constexpr int ring_blocks = 4; // of positions; three are read
constexpr int ring_rows = ring_blocks * block_keys;
constexpr int skew_groups = (block_keys + warp_queries) / 16; // of 16 positions that a warp's queries see
constexpr int skew_stride = 16 * skew_groups + 8;             // keeps the rows of a quarter-warp in different banks
constexpr int skew_bytes = warp_queries * skew_stride * 2;
constexpr int shared_bytes = (4 + ring_blocks) * block_bytes + warps * skew_bytes;
constexpr unsigned all_lanes = 0xffffffffu;

static_assert(position_margin >= tile_queries);

struct Params {
  const __nv_bfloat16* qkv;
  RelativePositions positions;
  const int* starts;
  __nv_bfloat16* out;
  float scale; // of scores, in powers of two
};

/// Copies 16 bytes, or writes zeros where there is nothing to copy.
__device__ void copy_async(std::uint32_t to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
}
__device__ void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int pending>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
}

/// Four 8 x 8 tiles; each lane names a row of one of them.
__device__ void load_tiles(std::uint32_t (&tiles)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(row)
               : "memory");
}
__device__ void load_tiles_transposed(std::uint32_t (&tiles)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(row)
               : "memory");
}

/// d += a b: 16 rows by 8 columns by 16 deep. A lane holds columns 2 (lane % 4) (+ 1) of row lane / 4 in d[0], d[1], of
/// the row 8 further down in d[2], d[3].
__device__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

__device__ float exp2_of(float x) {
  float y = 0;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

/// Address of 16-byte piece @p piece of a row; pieces change places so that the rows of a tile lie in different banks.
__device__ std::uint32_t piece_at(std::uint32_t base, int row, int piece) {
  return base + row * row_bytes + ((piece ^ (row & 7)) << 4);
}

/// The block's part of the work, and where its data lies.
struct Tile {
  const Params& params;
  std::uint32_t shared;
  int width;   // of a row of all heads
  int column;  // of this head
  int start;   // the sequence's first row
  int length;  // of the sequence
  int queries; // first query's place in the sequence
  int blocks;  // of keys

  __device__ std::uint32_t keys(int block) const { return shared + block % 2 * block_bytes; }
  __device__ std::uint32_t values(int block) const { return shared + (2 + block % 2) * block_bytes; }
  __device__ std::uint32_t positions() const { return shared + 4 * block_bytes; }
  /// Row of the position table for the last query of the tile and key 0.
  __device__ int first_position() const { return params.positions.capacity - queries - tile_queries; }

  __device__ void load_keys_and_values(int block) const {
    for (int i = static_cast<int>(threadIdx.x); i < block_keys * 8; i += threads) {
      const int row = i / 8;
      const int key = block * block_keys + row;
      const bool exists = key < length;
      const __nv_bfloat16* const from =
          params.qkv + static_cast<std::int64_t>(start + (exists ? key : 0)) * (3 * width) + width + column + i % 8 * 8;
      copy_async(piece_at(keys(block), row, i % 8), from, exists);
      copy_async(piece_at(values(block), row, i % 8), from + width, exists);
    }
  }

  /// 64 rows of the position table into the ring.
  __device__ void load_positions(int block) const {
    for (int i = static_cast<int>(threadIdx.x); i < block_keys * 8; i += threads) {
      const int row = block * block_keys + i / 8;
      const __nv_bfloat16* const from =
          params.positions.table + static_cast<std::int64_t>(first_position() + row) * width + column + i % 8 * 8;
      copy_async(piece_at(positions(), row % ring_rows, i % 8), from, true);
    }
  }
};

/// A warp's 16 queries.
class Warp {
public:
  __device__ explicit Warp(const Tile& tile)
      : tile_(tile), lane_(static_cast<int>(threadIdx.x) % 32),
        first_(static_cast<int>(threadIdx.x) / 32 * warp_queries) {
    char* const memory = static_cast<char*>(__cvta_shared_to_generic(tile.shared));
    skew_ = reinterpret_cast<__half*>(memory + (4 + ring_blocks) * block_bytes + first_ / warp_queries * skew_bytes);
#pragma unroll
    for (int k = 0; k < head / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) { // rows lane / 4 and 8 more by columns 2 (lane % 4) and 8 more
        const int query = tile.queries + first_ + lane_ / 4 + i % 2 * 8;
        queries_[k][i] = query >= tile.length
                             ? 0
                             : *reinterpret_cast<const std::uint32_t*>(
                                   tile.params.qkv + static_cast<std::int64_t>(tile.start + query) * (3 * tile.width) +
                                   tile.column + 16 * k + i / 2 * 8 + 2 * (lane_ % 4));
      }
    }
  }

  __device__ void attend_to(int block) {
    float scores[block_keys / 8][4];
    score_positions(block);
    __syncwarp();
    read_skewed(scores);
    score_keys(block, scores);
    if (tile_.length < (block + 1) * block_keys) {
      mask(block, scores);
    }
    soften(scores);
    add_values(block, scores);
  }

  __device__ void store() const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sum_[half];
      sum += __shfl_xor_sync(all_lanes, sum, 1);
      sum += __shfl_xor_sync(all_lanes, sum, 2);
      const float inverse = 1.0f / sum;
      const int query = tile_.queries + first_ + lane_ / 4 + 8 * half;
      if (query < tile_.length) {
        __nv_bfloat16* const to = tile_.params.out + static_cast<std::int64_t>(tile_.start + query) * tile_.width +
                                  tile_.column + 2 * (lane_ % 4);
#pragma unroll
        for (int n = 0; n < head / 8; ++n) {
          *reinterpret_cast<std::uint32_t*>(to + 8 * n) =
              pack(output_[n][2 * half] * inverse, output_[n][2 * half + 1] * inverse);
        }
      }
    }
  }

private:
  /// Row of a tile pair that this lane names, for operands that lie [columns, depth].
  [[nodiscard]] __device__ int operand_row() const { return lane_ / 16 * 8 + lane_ % 8; }
  [[nodiscard]] __device__ int operand_piece() const { return lane_ / 8 % 2; }

  /// q p + s of the positions that the warp's last query and the block's first key … the first query and the last key
  /// are apart.
  __device__ void score_positions(int block) const {
    const int nearest = tile_queries - warp_queries - first_ + block * block_keys; // from first_position()
    const int capacity = tile_.params.positions.capacity;
    const float* const constants = tile_.params.positions.scores +
                                   static_cast<std::int64_t>(tile_.column / head) * (2 * capacity) +
                                   tile_.first_position() + nearest + 2 * (lane_ % 4);
#pragma unroll
    for (int group = 0; group < skew_groups; ++group) {
      float sums[2][4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float2 constant = *reinterpret_cast<const float2*>(constants + 16 * group + 8 * n);
        sums[n][0] = sums[n][2] = constant.x;
        sums[n][1] = sums[n][3] = constant.y;
      }
      const int row = (nearest + 16 * group) % ring_rows + operand_row();
#pragma unroll
      for (int k = 0; k < head / 16; ++k) {
        std::uint32_t tiles[4];
        load_tiles(tiles, piece_at(tile_.positions(), row, 2 * k + operand_piece()));
        multiply(sums[0], queries_[k], tiles[0], tiles[1]);
        multiply(sums[1], queries_[k], tiles[2], tiles[3]);
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        __half* const to = skew_ + lane_ / 4 * skew_stride + 16 * group + 8 * n + 2 * (lane_ % 4);
        *reinterpret_cast<__half2*>(to) = __floats2half2_rn(sums[n][0], sums[n][1]);
        *reinterpret_cast<__half2*>(to + 8 * skew_stride) = __floats2half2_rn(sums[n][2], sums[n][3]);
      }
    }
  }

  /// Query i of the warp and key j of the block are at column 15 - i + j.
  __device__ void read_skewed(float (&scores)[block_keys / 8][4]) const {
    const int row = lane_ / 4;
    const __half* const upper = skew_ + row * skew_stride + warp_queries - 1 - row + 2 * (lane_ % 4);
    const __half* const lower = upper + 8 * skew_stride - 8;
#pragma unroll
    for (int n = 0; n < block_keys / 8; ++n) {
      scores[n][0] = __half2float(upper[8 * n]);
      scores[n][1] = __half2float(upper[8 * n + 1]);
      scores[n][2] = __half2float(lower[8 * n]);
      scores[n][3] = __half2float(lower[8 * n + 1]);
    }
    __syncwarp(); // before the next block's positions are written
  }

  __device__ void score_keys(int block, float (&scores)[block_keys / 8][4]) const {
    const std::uint32_t keys = tile_.keys(block);
#pragma unroll
    for (int n = 0; n < block_keys / 16; ++n) {
#pragma unroll
      for (int k = 0; k < head / 16; ++k) {
        std::uint32_t tiles[4];
        load_tiles(tiles, piece_at(keys, 16 * n + operand_row(), 2 * k + operand_piece()));
        multiply(scores[2 * n], queries_[k], tiles[0], tiles[1]);
        multiply(scores[2 * n + 1], queries_[k], tiles[2], tiles[3]);
      }
    }
  }

  /// Keys past the sequence's end count nothing.
  __device__ void mask(int block, float (&scores)[block_keys / 8][4]) const {
    const int left = tile_.length - block * block_keys - 2 * (lane_ % 4);
#pragma unroll
    for (int n = 0; n < block_keys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = 8 * n + i % 2 < left ? scores[n][i] : -INFINITY;
      }
    }
  }

  /// scores = 2^(scale scores - largest), moving the largest, the sums and the output to it.
  __device__ void soften(float (&scores)[block_keys / 8][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = scores[0][2 * half];
#pragma unroll
      for (int n = 0; n < block_keys / 8; ++n) {
        largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      }
      largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, 2));
      largest = fmaxf(largest * tile_.params.scale, largest_[half]);
      const float factor = exp2_of(largest_[half] - largest);
      largest_[half] = largest;
      float sum = sum_[half] * factor;
#pragma unroll
      for (int n = 0; n < block_keys / 8; ++n) {
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
          const float e = exp2_of(fmaf(scores[n][2 * half + odd], tile_.params.scale, -largest));
          scores[n][2 * half + odd] = e;
          sum += e;
          output_[n][2 * half + odd] *= factor; // as many columns as keys
        }
      }
      sum_[half] = sum;
    }
  }

  __device__ void add_values(int block, const float (&scores)[block_keys / 8][4]) {
    static_assert(block_keys == head);
    const std::uint32_t values = tile_.values(block);
#pragma unroll
    for (int k = 0; k < block_keys / 16; ++k) {
      const std::uint32_t probabilities[4] = {
          pack(scores[2 * k][0], scores[2 * k][1]), pack(scores[2 * k][2], scores[2 * k][3]),
          pack(scores[2 * k + 1][0], scores[2 * k + 1][1]), pack(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < head / 16; ++n) {
        std::uint32_t tiles[4];
        load_tiles_transposed(tiles, piece_at(values, 16 * k + lane_ % 16, 2 * n + lane_ / 16));
        multiply(output_[2 * n], probabilities, tiles[0], tiles[1]);
        multiply(output_[2 * n + 1], probabilities, tiles[2], tiles[3]);
      }
    }
  }

  const Tile& tile_;
  int lane_;
  int first_; // the warp's first query in the tile
  __half* skew_;
  std::uint32_t queries_[head / 16][4];
  float output_[head / 8][4] = {};
  float largest_[2] = {-INFINITY, -INFINITY}; // of rows lane / 4 and 8 more, in powers of two
  float sum_[2] = {0, 0};                     // of this lane's columns
};

__global__ void __launch_bounds__(threads, 2) relative_attention_kernel(const Params params) {
  extern __shared__ __align__(128) char memory[];
  const int start = params.starts[blockIdx.z];
  const int length = params.starts[blockIdx.z + 1] - start;
  const int queries = static_cast<int>(blockIdx.x) * tile_queries;
  if (queries >= length) {
    return;
  }
  const Tile tile{params,
                  static_cast<std::uint32_t>(__cvta_generic_to_shared(memory)),
                  static_cast<int>(gridDim.y) * head,
                  static_cast<int>(blockIdx.y) * head,
                  start,
                  length,
                  queries,
                  (length + block_keys - 1) / block_keys};
  tile.load_keys_and_values(0);
  for (int block = 0; block < ring_blocks - 1; ++block) {
    tile.load_positions(block);
  }
  commit_copies();
  Warp warp(tile);
#pragma unroll 1
  for (int block = 0; block < tile.blocks; ++block) {
    if (block + 1 < tile.blocks) {
      tile.load_keys_and_values(block + 1);
      tile.load_positions(block + ring_blocks - 1);
    }
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    warp.attend_to(block);
    __syncthreads();
  }
  warp.store();
}

} // namespace

void relative_attention(const __nv_bfloat16* qkv, const RelativePositions& positions, const PackedSequences& sequences,
                        int heads, __nv_bfloat16* out, cudaStream_t stream) {
  if (positions.capacity % 2 != 0 || positions.capacity < sequences.longest + position_margin) {
    throw std::invalid_argument("relative positions for " + std::to_string(positions.capacity) +
                                " rows do not serve a sequence of " + std::to_string(sequences.longest));
  }
  constexpr float log2_e = 1.44269504f;
  const Params params{qkv, positions, sequences.starts, out, log2_e / 8.0f}; // 1 / sqrt(64)
  C10_CUDA_CHECK(
      cudaFuncSetAttribute(relative_attention_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const dim3 grid(static_cast<unsigned>((sequences.longest + tile_queries - 1) / tile_queries),
                  static_cast<unsigned>(heads), static_cast<unsigned>(sequences.count));
  relative_attention_kernel<<<grid, threads, shared_bytes, stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
