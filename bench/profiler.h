// Watches a stretch of a run through Kineto, libtorch's profiler: what the GPU did, and a trace for people.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::bench {

struct KernelTime {
  std::string name; ///< demangled; "Memcpy …" and "Memset …" are copies
  std::int64_t launches = 0;
  double seconds = 0; ///< sum over the launches
};

/// What a GPU did between the start of the first and the end of the last kernel that was seen.
struct GpuActivity {
  double seconds = 0;              ///< length of that stretch
  double busy_seconds = 0;         ///< of them at least one kernel or copy ran
  std::vector<KernelTime> kernels; ///< longest first; together more than busy_seconds where streams overlap

  /// Of all kernels of a class (see kernel_class()).
  [[nodiscard]] double seconds_of(std::string_view kernel_class) const;
};

/// Records the ATen operators of all threads and all GPU kernels, those of CUDA graphs included, from its construction
/// until stop(). One at a time; create, stop and destroy it on the main thread.
class Profiler {
public:
  /// Waits for @p device to finish what it was given before.
  explicit Profiler(at::Device device);
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Waits for the device and ends the recording.
  /// @param trace where to write it as Chrome JSON; empty: nowhere
  /// @return of a GPU; of the CPU an empty activity
  /// @throws std::runtime_error when no GPU kernel was seen, or the trace cannot be written.
  GpuActivity stop(const std::filesystem::path& trace);

private:
  at::Device device_;
  bool running_ = true;
};

} // namespace audiobookd::bench
