#include "bench/gpu.h"

#ifdef AUDIOBOOKD_WITH_CUDA
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>
#endif

namespace audiobookd::bench {

void synchronize([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    c10::cuda::device_synchronize();
  }
#endif
}

GpuMemory gpu_memory([[maybe_unused]] at::Device device) {
  GpuMemory memory;
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    at::globalContext().lazyInitDevice(at::kCUDA);
    constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    memory.peak_allocated_bytes = stats.allocated_bytes[all].peak;
    memory.peak_reserved_bytes = stats.reserved_bytes[all].peak;
  }
#endif
  return memory;
}

std::int64_t used_device_bytes([[maybe_unused]] at::Device device) {
  std::size_t free = 0;
  std::size_t total = 0;
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  }
#endif
  return static_cast<std::int64_t>(total - free);
}

void forget_peaks([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    at::globalContext().lazyInitDevice(at::kCUDA); // the allocator knows no device before
    c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
  }
#endif
}

void release_cached_memory([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    c10::cuda::CUDACachingAllocator::emptyCache();
  }
#endif
}

} // namespace audiobookd::bench
