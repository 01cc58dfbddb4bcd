// The vocoder's activation. For device code.
#pragma once

namespace audiobookd::engine::cuda {

/// x + sin^2(alpha x) / alpha; the sine of its argument less the nearest multiple of pi.
__device__ inline float snake_of(float x, float alpha, float inverse) {
  constexpr float pi = 3.14159265f;
  const float y = alpha * x;
  const float sine = __sinf(fmaf(rintf(y * (1.0f / pi)), -pi, y));
  return fmaf(sine * sine, inverse, x);
}

} // namespace audiobookd::engine::cuda
