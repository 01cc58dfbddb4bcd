// Blocks of Philox normals: the CPU loop, and the way to the CUDA kernel.
#include "engine/kernels/philox_noise.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <c10/util/StringUtil.h>
#include <stdexcept>

#ifdef AUDIOBOOKD_WITH_CUDA
#include "engine/kernels/philox_noise_cuda.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace audiobookd::engine::kernels {
namespace {

void require(bool good, const char* expected, const at::Tensor& found) {
  if (!good) {
    throw std::invalid_argument(c10::str("random numbers need ", expected, ", found ", found.scalar_type(), " ",
                                         found.sizes(), " with strides ", found.strides(), " on ", found.device()));
  }
}

void fill_row(float* row, std::int64_t n, const RandomStream& stream, RandomPurpose purpose, std::uint32_t step) {
  float normals[4];
  for (std::int64_t first = 0; first < n; first += 4) {
    normal_quad(stream, purpose, step, static_cast<std::uint32_t>(first / 4), normals);
    std::copy_n(normals, std::min<std::int64_t>(4, n - first), row + first);
  }
}

#ifdef AUDIOBOOKD_WITH_CUDA
void fill_on_cuda(const at::Tensor& block, const RandomStream& stream, RandomPurpose purpose) {
  const c10::cuda::CUDAGuard guard(block.device());
  C10_CUDA_CHECK(fill_normal_cuda(block.data_ptr<float>(), block.size(0), block.size(1), block.stride(0), stream,
                                  purpose, c10::cuda::getCurrentCUDAStream()));
}
#endif

} // namespace

void fill_normal(const at::Tensor& block, const RandomStream& stream, RandomPurpose purpose) {
  require(block.scalar_type() == at::kFloat && block.dim() == 2 && (block.size(1) <= 1 || block.stride(1) == 1),
          "fp32 [rows, n] with contiguous rows", block);
  if (block.numel() == 0) {
    return;
  }
#ifdef AUDIOBOOKD_WITH_CUDA
  if (block.is_cuda()) {
    return fill_on_cuda(block, stream, purpose);
  }
#endif
  require(block.is_cpu(), "a device this build knows", block);
  for (std::int64_t r = 0; r < block.size(0); ++r) {
    fill_row(block.data_ptr<float>() + r * block.stride(0), block.size(1), stream, purpose,
             static_cast<std::uint32_t>(r));
  }
}

void fill_uniform(const at::Tensor& values, const RandomStream& stream, RandomPurpose purpose) {
  require(values.scalar_type() == at::kFloat && values.dim() == 1 && values.is_contiguous() && values.is_cpu(),
          "contiguous fp32 [n] on the CPU", values);
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    values.data_ptr<float>()[i] = uniform(stream, purpose, 0, static_cast<std::uint32_t>(i));
  }
}

} // namespace audiobookd::engine::kernels
