#include "bench/meter.h"

#include "bench/gpu.h"

#include <sys/resource.h>

namespace audiobookd::bench {
namespace {

constexpr double bytes_per_gb = 1e9;

rusage usage_so_far() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

double cpu_seconds_so_far() {
  const rusage usage = usage_so_far();
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

} // namespace

Meter::Meter(at::Device device)
    : device_(device), start_(std::chrono::steady_clock::now()), cpu_seconds_(cpu_seconds_so_far()) {
  forget_peaks(device);
}

double Meter::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

nlohmann::ordered_json Meter::resources() const {
  nlohmann::ordered_json result = {
      {"cpu_cores_used", (cpu_seconds_so_far() - cpu_seconds_) / seconds()},
      {"peak_rss_gb", 1024.0 * static_cast<double>(usage_so_far().ru_maxrss) / bytes_per_gb}};
  if (device_.is_cuda()) {
    const GpuMemory memory = gpu_memory(device_);
    result["gpu_memory"] = {{"peak_allocated_gb", static_cast<double>(memory.peak_allocated_bytes) / bytes_per_gb},
                            {"peak_reserved_gb", static_cast<double>(memory.peak_reserved_bytes) / bytes_per_gb},
                            {"device_used_gb", static_cast<double>(used_device_bytes(device_)) / bytes_per_gb}};
  }
  return result;
}

} // namespace audiobookd::bench
