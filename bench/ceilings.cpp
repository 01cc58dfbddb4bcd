#include "bench/ceilings.h"

#include "bench/gpu.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <chrono>
#include <functional>

namespace audiobookd::bench {
namespace {

/// Seconds of one call of @p work: the best of some rounds, after a warm-up.
double best_seconds(at::Device device, const std::function<void()>& work) {
  constexpr int rounds = 5;
  constexpr int calls = 10; // of a round, so that launching costs nothing
  work();
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    synchronize(device);
    const auto start = std::chrono::steady_clock::now();
    for (int call = 0; call < calls; ++call) {
      work();
    }
    synchronize(device);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
    best = round == 0 ? seconds : std::min(best, seconds);
  }
  return best;
}

Ceilings measure(at::Device device) {
  const bool gpu = device.is_cuda();
  const std::int64_t bytes = gpu ? std::int64_t{1} << 30 : std::int64_t{1} << 26; // beyond the caches
  const at::Tensor source = at::zeros({bytes}, at::TensorOptions(at::kByte).device(device));
  at::Tensor target = at::empty_like(source);
  Ceilings ceilings;
  ceilings.bytes_per_second = 2 * static_cast<double>(bytes) / best_seconds(device, [&] { target.copy_(source); });

  const std::int64_t n = gpu ? 8192 : 1024;
  const auto options = at::TensorOptions(gpu ? at::kBFloat16 : at::kFloat).device(device);
  const at::Tensor a = at::randn({n, n}, options);
  const at::Tensor b = at::randn({n, n}, options);
  at::Tensor product = at::empty({n, n}, options);
  const auto side = static_cast<double>(n);
  ceilings.flop_per_second = 2 * side * side * side / best_seconds(device, [&] { at::mm_out(product, a, b); });
  ceilings.matmul = (gpu ? "bf16 " : "fp32 ") + std::to_string(n) + "^3";
  return ceilings;
}

} // namespace

Ceilings measure_ceilings(at::Device device) {
  Ceilings ceilings = measure(device);
  release_cached_memory(device);
  return ceilings;
}

} // namespace audiobookd::bench
