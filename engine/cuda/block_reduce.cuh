// Reductions over a warp or a thread block with a fixed order of operations. Every thread of it must call them.
#pragma once

namespace audiobookd::engine::cuda {

constexpr int warp_size = 32;
constexpr unsigned full_mask = 0xffffffffu;

/// Sum over a warp, the same in every thread.
__device__ inline float warp_sum(float x) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(full_mask, x, offset);
  }
  return x;
}

/// Sum over a block, the same in every thread. @param scratch shared memory, one float a warp
template <int threads>
__device__ float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % warp_size == 0) {
    scratch[threadIdx.x / warp_size] = x;
  }
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < threads / warp_size; ++w) {
    sum += scratch[w];
  }
  return sum;
}

/// Maximum over a block, the same in every thread.
template <int threads>
__device__ float block_max(float x, float* scratch) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(full_mask, x, offset));
  }
  __syncthreads();
  if (threadIdx.x % warp_size == 0) {
    scratch[threadIdx.x / warp_size] = x;
  }
  __syncthreads();
  float largest = -INFINITY;
  for (int w = 0; w < threads / warp_size; ++w) {
    largest = fmaxf(largest, scratch[w]);
  }
  return largest;
}

/// A value and which one it is.
struct Candidate {
  float value;
  int index;
};

/// The candidate with the larger value; among equals the one with the lower index.
__device__ inline Candidate better(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index) ? a : b;
}

/// The best candidate of a block, the same in every thread. @param scratch shared memory, one candidate a warp
template <int threads>
__device__ Candidate block_best(Candidate best, Candidate* scratch) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    best =
        better(best, {__shfl_xor_sync(full_mask, best.value, offset), __shfl_xor_sync(full_mask, best.index, offset)});
  }
  __syncthreads();
  if (threadIdx.x % warp_size == 0) {
    scratch[threadIdx.x / warp_size] = best;
  }
  __syncthreads();
  for (int w = 0; w < threads / warp_size; ++w) {
    best = better(best, scratch[w]);
  }
  return best;
}

} // namespace audiobookd::engine::cuda
