#include "engine/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/InferenceMode.h>
#include <optional>
#include <stdexcept>

#ifdef AUDIOBOOKD_WITH_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#endif

namespace audiobookd::engine {
namespace {

void check_cuda_exists([[maybe_unused]] const at::Device& device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  const int count = static_cast<unsigned char>(c10::cuda::device_count());
  if (count == 0) {
    throw std::runtime_error("device \"" + device.str() + "\": no usable NVIDIA GPU (check nvidia-smi and the driver)");
  }
  if (device.has_index() && device.index() >= count) {
    throw std::runtime_error("device \"" + device.str() + "\": there are " + std::to_string(count) + " GPUs");
  }
#else
  throw std::runtime_error("device \"" + device.str() + "\": this is a CPU build; build where nvcc is installed");
#endif
}

} // namespace

at::Device resolve_device(const std::string& name) {
  std::optional<at::Device> device;
  try {
    device.emplace(name);
  } catch (const c10::Error&) {
    // answered below
  }
  if (!device || (!device->is_cpu() && !device->is_cuda())) {
    throw std::runtime_error("device \"" + name + "\": expected \"cpu\", \"cuda\" or \"cuda:N\"");
  }
  if (device->is_cuda()) {
    check_cuda_exists(*device);
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
    return device->has_index() ? *device : at::Device(at::kCUDA, 0);
  }
  return *device;
}

std::string device_name([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    return at::cuda::getDeviceProperties(device.index())->name;
  }
#endif
  return "cpu";
}

std::int64_t free_device_memory([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    std::size_t free = 0;
    std::size_t total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<std::int64_t>(free);
  }
#endif
  return 0;
}

bool computes_bf16(at::Device device) {
  if (device.is_cuda()) {
    return true;
  }
  const auto capabilities = at::cpu::get_cpu_capabilities(); // those of its architecture only
  const auto amx = capabilities.find("amx_bf16");
  return amx != capabilities.end() && amx->second.toBool();
}

struct StageScope::Guards {
  c10::InferenceMode inference;
#ifdef AUDIOBOOKD_WITH_CUDA
  std::optional<c10::cuda::CUDAStreamGuard> stream;
#endif
};

StageScope::StageScope([[maybe_unused]] at::Device device, [[maybe_unused]] Stage stage, int cpu_threads)
    : guards_(std::make_unique<Guards>()) {
  at::set_num_threads(cpu_threads);
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    guards_->stream.emplace(c10::cuda::getStreamFromPool(stage == Stage::decode, device.index()));
  }
#endif
}

StageScope::~StageScope() = default;

} // namespace audiobookd::engine
