// Philox normals on the GPU: one thread makes the four numbers of one counter. Compared with the CPU by GpuPhilox
// tests.
#include "engine/kernels/philox_noise_cuda.h"

namespace audiobookd::engine::kernels {
namespace {

constexpr int threads_per_block = 256;

__global__ void fill_normal_kernel(float* block, std::int64_t n, std::int64_t row_stride, RandomStream random,
                                   RandomPurpose purpose) {
  const std::int64_t lane = std::int64_t{blockIdx.x} * threads_per_block + threadIdx.x;
  const std::int64_t first = lane * 4;
  if (first >= n) {
    return;
  }
  float normals[4];
  normal_quad(random, purpose, blockIdx.y, static_cast<std::uint32_t>(lane), normals);
  float* row = block + blockIdx.y * row_stride;
  for (int i = 0; i < 4 && first + i < n; ++i) {
    row[first + i] = normals[i];
  }
}

} // namespace

cudaError_t fill_normal_cuda(float* block, std::int64_t rows, std::int64_t n, std::int64_t row_stride,
                             const RandomStream& random, RandomPurpose purpose, cudaStream_t stream) {
  const std::int64_t lanes = (n + 3) / 4;
  const dim3 grid(static_cast<unsigned>((lanes + threads_per_block - 1) / threads_per_block),
                  static_cast<unsigned>(rows));
  fill_normal_kernel<<<grid, threads_per_block, 0, stream>>>(block, n, row_stride, random, purpose);
  return cudaGetLastError();
}

} // namespace audiobookd::engine::kernels
