// Eight neighbouring values at a time: bf16 in one 16-byte access, fp32 in two. For device code.
#pragma once

#include <cuda_bf16.h>

namespace audiobookd::engine::cuda {

/// Eight bf16 values, moved as one 16-byte access.
struct alignas(16) Bf16x8 {
  __nv_bfloat162 pair[4];
};

/// The same eight values in fp32.
struct Float8 {
  float at[8];
};

__device__ inline Float8 load8(const __nv_bfloat16* p) {
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

__device__ inline Float8 load8(const float* p) {
  const float4 low = reinterpret_cast<const float4*>(p)[0];
  const float4 high = reinterpret_cast<const float4*>(p)[1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ inline void store8(__nv_bfloat16* p, const Float8& x) {
  Bf16x8 x8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x8.pair[i] = __floats2bfloat162_rn(x.at[2 * i], x.at[2 * i + 1]);
  }
  *reinterpret_cast<Bf16x8*>(p) = x8;
}

__device__ inline void store8(float* p, const Float8& x) {
  reinterpret_cast<float4*>(p)[0] = make_float4(x.at[0], x.at[1], x.at[2], x.at[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(x.at[4], x.at[5], x.at[6], x.at[7]);
}

} // namespace audiobookd::engine::cuda
