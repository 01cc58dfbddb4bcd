// What kernels share that carry tiles of 128 rows through Hopper's tensor cores with one producer and two consumer
// warpgroups: rings, the places of sums, and moving sums to whole columns. Device code for sm_90a only.
#pragma once

#include "engine/cuda/hopper.cuh"
#include "engine/cuda/wgmma.cuh"

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <type_traits>

namespace audiobookd::engine::cuda {

inline constexpr int warpgroup = 128;
inline constexpr int tile_rows = 128;
inline constexpr int tile_depth = 64;                 // columns of one shared-memory tile
inline constexpr int tile_row_bytes = tile_depth * 2; // of one shared-memory tile
inline constexpr int tile_threads = 3 * warpgroup;
inline constexpr unsigned all_lanes = 0xffffffffu;

/// Place in a ring of `size` entries and the parity of its current turn.
template <int size>
struct Turn {
  int at = 0;
  std::uint32_t parity = 0;
  __device__ void advance() {
    if (++at == size) {
      at = 0;
      parity ^= 1;
    }
  }
};

/// Where a thread's sums lie: rows `row` and `row` + 8, columns 8 j + `column` (+ 1).
struct Place {
  int group; // 0 or 1: the warpgroup's half of the tile; the compiler knows that a warp has only one
  int thread;
  int lane;
  int row;    // in the tile
  int column; // 0, 2, 4 or 6
  int zero;   // that the compiler cannot know: keeps loads apart that it would make all at once
  __device__ explicit Place(int zero)
      : group(__shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / warpgroup, 0) - 1),
        thread(static_cast<int>(threadIdx.x) % warpgroup), lane(static_cast<int>(threadIdx.x) % 32),
        row(group * 64 + thread / 32 * 16 + lane / 4), column(2 * (lane % 4)), zero(zero) {}
  /// Hardware barrier of the warpgroup.
  __device__ int barrier() const { return 1 + group; }
};

/// Sum over the four lanes that hold one row.
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(all_lanes, x, 1);
  return x + __shfl_xor_sync(all_lanes, x, 2);
}

__device__ inline float2 pair_at(const float* values) { return *reinterpret_cast<const float2*>(values); }

/// Two values as bf16, the first in the low half.
__device__ inline std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

/// Four values as e4m3, the first in the lowest byte. Values beyond 448 become 448.
__device__ inline std::uint32_t pack_e4m3(float v0, float v1, float v2, float v3) {
  const std::uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(v0, v1), __NV_SATFINITE, __NV_E4M3);
  const std::uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(v2, v3), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

template <class Operand>
inline constexpr bool is_fp8 = std::is_same_v<Operand, __nv_fp8_e4m3>;

/// The word that holds a thread's share of 8 columns in bf16, or of 16 in e4m3, of row half @p half: as the left
/// operand in registers has it, and in its order of columns (pack_weights_e4m3()).
/// @param value of sum i
template <class Operand, class F>
__device__ inline std::uint32_t operand_word(int word, int half, const F& value) {
  if constexpr (is_fp8<Operand>) {
    const int i = 8 * word + 2 * half;
    return pack_e4m3(value(i), value(i + 1), value(i + 4), value(i + 5));
  } else {
    const int i = 4 * word + 2 * half;
    return pack(value(i), value(i + 1));
  }
}

/// Words of four column blocks, of which each lane of a quad holds a quarter, to whole blocks: lane q gets block q. It
/// is its own inverse: given whole blocks it returns every lane's quarters of the four.
__device__ inline uint4 gather_block(std::uint32_t w0, std::uint32_t w1, std::uint32_t w2, std::uint32_t w3, int lane) {
  const bool odd = (lane & 1) != 0;
  const std::uint32_t x = __shfl_xor_sync(all_lanes, odd ? w0 : w1, 1);
  const std::uint32_t y = __shfl_xor_sync(all_lanes, odd ? w2 : w3, 1);
  const std::uint32_t u0 = odd ? x : w0;
  const std::uint32_t u1 = odd ? w1 : x;
  const std::uint32_t u2 = odd ? y : w2;
  const std::uint32_t u3 = odd ? w3 : y;
  const bool high = (lane & 2) != 0;
  const std::uint32_t z0 = __shfl_xor_sync(all_lanes, high ? u0 : u2, 2);
  const std::uint32_t z1 = __shfl_xor_sync(all_lanes, high ? u1 : u3, 2);
  return high ? make_uint4(z0, z1, u2, u3) : make_uint4(u0, u1, z0, z1);
}

} // namespace audiobookd::engine::cuda
