// Wall clock, CPU time and memory of a stretch of a run.
#pragma once

#include <ATen/core/Tensor.h>
#include <chrono>
#include <nlohmann/json.hpp>

namespace audiobookd::bench {

/// Counts from its construction.
class Meter {
public:
  explicit Meter(at::Device device);

  [[nodiscard]] double seconds() const;
  /// Until now: "cpu_cores_used" (user and system seconds of all threads, per second), "peak_rss_gb" (of the process
  /// since its start) and on a GPU "gpu_memory".
  [[nodiscard]] nlohmann::ordered_json resources() const;

private:
  at::Device device_;
  std::chrono::steady_clock::time_point start_;
  double cpu_seconds_;
};

} // namespace audiobookd::bench
