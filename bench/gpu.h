// The few things a benchmark asks a GPU; on the CPU they do nothing. The only place here that asks which build it is.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace audiobookd::bench {

/// Waits until @p device has done everything it was given.
void synchronize(at::Device device);

struct GpuMemory {
  std::int64_t peak_allocated_bytes = 0; ///< by tensors, since forget_peaks()
  std::int64_t peak_reserved_bytes = 0;  ///< by libtorch's caching allocator, since forget_peaks()
};

/// Of this process.
[[nodiscard]] GpuMemory gpu_memory(at::Device device);

/// Of the whole device, now: libraries and other programs included.
[[nodiscard]] std::int64_t used_device_bytes(at::Device device);

/// Lets peaks count from now.
void forget_peaks(at::Device device);

/// Gives memory that no tensor uses back to the driver.
void release_cached_memory(at::Device device);

} // namespace audiobookd::bench
