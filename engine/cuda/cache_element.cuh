// What the KV cache is made of on a GPU: bf16, or e4m3 with a power of two for the key and one for the value that a
// head keeps of a position, so that the largest of its values uses the format's range. For device code.
#pragma once

#include "engine/cuda/bf16_vector.cuh"
#include "engine/cuda/block_reduce.cuh"

#include <cstdint>
#include <cuda_fp8.h>
#include <type_traits>

namespace audiobookd::engine::cuda {

using Bf16 = __nv_bfloat16;
using Fp8 = __nv_fp8_e4m3;

template <typename Element>
inline constexpr bool is_scaled = std::is_same_v<Element, Fp8>;

__device__ inline Float8 load8(const Fp8* p) {
  const auto bytes = *reinterpret_cast<const uint2*>(p);
  Float8 out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const unsigned word = i < 2 ? bytes.x : bytes.y;
    const auto pair = static_cast<__nv_fp8x2_storage_t>(i % 2 == 0 ? word & 0xffff : word >> 16);
    const float2 x = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(pair, __NV_E4M3)));
    out.at[2 * i] = x.x;
    out.at[2 * i + 1] = x.y;
  }
  return out;
}

/// Rounds to nearest.
__device__ inline void store8(Fp8* p, const Float8& x) {
  unsigned words[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const unsigned pair =
        __nv_cvt_float2_to_fp8x2(make_float2(x.at[2 * i], x.at[2 * i + 1]), __NV_SATFINITE, __NV_E4M3);
    words[i / 2] |= pair << (i % 2 * 16);
  }
  *reinterpret_cast<uint2*>(p) = make_uint2(words[0], words[1]);
}

__device__ inline float largest_of(const Float8& x) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    largest = fmaxf(largest, fabsf(x.at[i]));
  }
  return largest;
}

__device__ inline Float8 times(Float8 x, float factor) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x.at[i] *= factor;
  }
  return x;
}

/// 2^(exponent - 127)
__device__ inline float power_of_two(unsigned exponent) { return __uint_as_float(exponent << 23); }

/// The exponent of the smallest power of two by which @p largest must be divided to be at most 448, the largest value
/// of e4m3.
__device__ inline unsigned exponent_for(float largest) {
  constexpr unsigned mantissa_of_448 = 0x600000; // 1.75 * 2^8
  const unsigned bits = __float_as_uint(largest);
  const int exponent = static_cast<int>(bits >> 23) - 8 + ((bits & 0x7fffff) > mantissa_of_448 ? 1 : 0);
  return static_cast<unsigned>(min(max(exponent, 1), 253));
}

/// Values of one head and position as the cache holds them.
template <typename Element>
struct Rounding {
  unsigned exponent; // unused in bf16

  /// @param largest of the absolute values of the whole head
  __device__ explicit Rounding(float largest) : exponent(is_scaled<Element> ? exponent_for(largest) : 127) {}
  /// What is stored.
  [[nodiscard]] __device__ Float8 down(const Float8& x) const {
    return is_scaled<Element> ? times(x, power_of_two(254 - exponent)) : x;
  }
  /// @param stored eight elements. @return what they stand for
  [[nodiscard]] __device__ Float8 up(const Element* stored) const {
    return is_scaled<Element> ? times(load8(stored), power_of_two(exponent)) : load8(stored);
  }
};

/// The factor of position @p position of a page. @param exponents of its keys or of its values; unused in bf16
template <typename Element>
__device__ float scale_at(const std::uint8_t* exponents, int position) {
  return is_scaled<Element> ? power_of_two(exponents[position]) : 1.0f;
}

} // namespace audiobookd::engine::cuda
