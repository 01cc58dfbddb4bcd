// The device a model runs on, and the streams of its two stages. The only place that asks which build this is.
#pragma once

#include "engine/memory_budget.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <string>

namespace audiobookd::engine {

/// "cpu", "cuda" or "cuda:N" to a device that exists. On a GPU TF32 is switched off and the
/// allocator told to let its segments grow, from then on for the whole process.
/// @throws std::runtime_error when the name is unknown, this is a CPU build, or there is no such GPU.
at::Device resolve_device(const std::string& name);

/// GPUs that there are; 0 in a CPU build.
int num_gpus() noexcept;

/// "cpu", or the GPU's product name.
std::string device_name(at::Device device);

/// The memory of a GPU now; zeros on the CPU.
DeviceMemory device_memory(at::Device device);

/// Lets this process reserve at most @p bytes of a GPU for tensors from now on: beyond that c10::OutOfMemoryError.
/// Blocks that no tensor uses are given back before. Nothing on the CPU.
void limit_tensor_memory(at::Device device, std::int64_t bytes);

/// Takes the limit away.
void unlimit_tensor_memory(at::Device device);

/// Gives blocks that no tensor uses back to the driver. Not while a graph is captured.
void release_unused_memory(at::Device device);

/// Whether @p device multiplies bf16 matrices faster than fp32 ones: every GPU does, and a CPU with AMX.
bool computes_bf16(at::Device device);

/// Whether @p device is a GPU with Hopper's instructions (sm_90a), which no later generation has.
bool is_hopper(at::Device device);

/// Uninitialised memory of the host for copies from and to @p device that nobody waits for: page-locked for a GPU. It
/// can be let go at any time, also after the device has failed, when PyTorch's own ends the process.
at::Tensor host_tensor(at::IntArrayRef sizes, at::ScalarType dtype, at::Device device);

/// A copy of @p host on @p device that does not wait for what the device still has to do: work given to the current
/// stream from now on finds it there. On the CPU @p host itself.
at::Tensor upload(const at::Tensor& host, at::Device device);

enum class Stage {
  decode,    ///< high-priority stream
  synthesis, ///< low-priority stream
};

/// While it lives, the calling thread computes on the stage's own stream with so many CPU threads. A stage's stream is
/// always the same one, since blocks of memory that were used on one stream are not used again on another.
/// Create and destroy it on that thread.
class StageScope {
public:
  StageScope(at::Device device, Stage stage, int cpu_threads);
  ~StageScope();
  StageScope(const StageScope&) = delete;
  StageScope& operator=(const StageScope&) = delete;

private:
  struct Guards;
  std::unique_ptr<Guards> guards_;
};

} // namespace audiobookd::engine
