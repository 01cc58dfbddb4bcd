#include "engine/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <algorithm>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/InferenceMode.h>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#ifdef AUDIOBOOKD_WITH_CUDA
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#endif

namespace audiobookd::engine {

int num_gpus() noexcept {
#ifdef AUDIOBOOKD_WITH_CUDA
  return static_cast<unsigned char>(c10::cuda::device_count());
#else
  return 0;
#endif
}

namespace {

void check_cuda_exists([[maybe_unused]] const at::Device& device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  const int count = num_gpus();
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

#ifdef AUDIOBOOKD_WITH_CUDA
/// The number of a GPU; "cuda" means the first, as for resolve_device().
at::DeviceIndex index_of(at::Device device) { return device.has_index() ? device.index() : at::DeviceIndex(0); }
#endif

/// The allocator's segments grow instead of being many: batches of ever other sizes then share memory without cutting
/// it up, so that it takes what the largest of them takes.
void use_growing_segments() { c10::CachingAllocator::setAllocatorSettings("expandable_segments:True"); }

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
    use_growing_segments();
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

DeviceMemory device_memory([[maybe_unused]] at::Device device) {
  DeviceMemory memory;
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    at::globalContext().lazyInitDevice(at::kCUDA); // the allocator knows no device before
    const c10::cuda::CUDAGuard guard(index_of(device));
    std::size_t free = 0;
    std::size_t total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(index_of(device));
    memory.total = static_cast<std::int64_t>(total);
    memory.used = static_cast<std::int64_t>(total - free);
    memory.reserved = stats.reserved_bytes[all].current;
    memory.allocated = stats.allocated_bytes[all].current;
  }
#endif
  return memory;
}

void limit_tensor_memory([[maybe_unused]] at::Device device, [[maybe_unused]] std::int64_t bytes) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    const auto total = static_cast<double>(device_memory(device).total);
    const double fraction = std::clamp(static_cast<double>(bytes) / total, 0.0, 1.0);
    c10::cuda::CUDACachingAllocator::setMemoryFraction(fraction, index_of(device));
  }
#endif
}

void unlimit_tensor_memory(at::Device device) { limit_tensor_memory(device, device_memory(device).total); }

void release_unused_memory([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    at::globalContext().lazyInitDevice(at::kCUDA);
    c10::cuda::CUDACachingAllocator::emptyCache();
  }
#endif
}

bool computes_bf16(at::Device device) {
  if (device.is_cuda()) {
    return true;
  }
  const auto capabilities = at::cpu::get_cpu_capabilities(); // those of its architecture only
  const auto amx = capabilities.find("amx_bf16");
  return amx != capabilities.end() && amx->second.toBool();
}

bool is_hopper([[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  constexpr int hopper = 9; // compute capability
  return device.is_cuda() && at::cuda::getDeviceProperties(device.index())->major == hopper;
#else
  return false;
#endif
}

#ifdef AUDIOBOOKD_WITH_CUDA
namespace {

/// A block of PyTorch's allocator for page-locked memory, which keeps it until copies that were begun are over. To know
/// that it records an event when the block is let go, and throws where the device has failed.
class PageLockedBlock {
public:
  explicit PageLockedBlock(std::size_t bytes) : memory_(at::getHostAllocator(at::kCUDA)->allocate(bytes)) {}
  ~PageLockedBlock() {
    const c10::DeleterFnPtr let_go = memory_.get_deleter();
    void* const block = memory_.release_context();
    try {
      let_go(block);
    } catch (const c10::Error&) { // never used again: what made it useful is gone
    }
  }
  PageLockedBlock(const PageLockedBlock&) = delete;
  PageLockedBlock& operator=(const PageLockedBlock&) = delete;

  [[nodiscard]] void* data() const noexcept { return memory_.get(); }

private:
  c10::DataPtr memory_;
};

} // namespace
#endif

at::Tensor host_tensor(at::IntArrayRef sizes, at::ScalarType dtype, [[maybe_unused]] at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    const auto count = static_cast<std::size_t>(c10::multiply_integers(sizes));
    const auto block = std::make_shared<PageLockedBlock>(count * c10::elementSize(dtype));
    return at::from_blob(
        block->data(), sizes, [block](void*) {}, at::TensorOptions(dtype));
  }
#endif
  return at::empty(sizes, dtype);
}

at::Tensor upload(const at::Tensor& host, at::Device device) {
  if (device.is_cpu()) {
    return host;
  }
  return host_tensor(host.sizes(), host.scalar_type(), device).copy_(host).to(device, /*non_blocking=*/true);
}

#ifdef AUDIOBOOKD_WITH_CUDA
namespace {

c10::cuda::CUDAStream stream_of(at::Device device, Stage stage) {
  static std::mutex mutex;
  static std::map<std::pair<at::DeviceIndex, Stage>, c10::cuda::CUDAStream> streams; // protected by mutex
  const std::lock_guard lock(mutex);
  const auto key = std::pair(index_of(device), stage);
  const auto found = streams.find(key);
  return found != streams.end()
             ? found->second
             : streams.emplace(key, c10::cuda::getStreamFromPool(stage == Stage::decode, index_of(device)))
                   .first->second;
}

} // namespace
#endif

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
    guards_->stream.emplace(stream_of(device, stage));
  }
#endif
}

StageScope::~StageScope() = default;

} // namespace audiobookd::engine
