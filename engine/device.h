// The device a model runs on, and the streams of its two stages. The only place that asks which build this is.
#pragma once

#include <ATen/core/Tensor.h>
#include <memory>
#include <string>

namespace audiobookd::engine {

/// "cpu", "cuda" or "cuda:N" to a device that exists. TF32 is switched off.
/// @throws std::runtime_error when the name is unknown, this is a CPU build, or there is no such GPU.
at::Device resolve_device(const std::string& name);

/// "cpu", or the GPU's product name.
std::string device_name(at::Device device);

/// Bytes that can still be allocated on a GPU; 0 on the CPU.
std::int64_t free_device_memory(at::Device device);

/// Whether @p device multiplies bf16 matrices faster than fp32 ones: every GPU does, and a CPU with AMX.
bool computes_bf16(at::Device device);

enum class Stage {
  decode,    ///< high-priority stream
  synthesis, ///< low-priority stream
};

/// While it lives, the calling thread computes on the stage's own stream with so many CPU threads.
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
