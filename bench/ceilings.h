// What the device can do at best: the roofline's two slopes, measured where the benchmark runs.
#pragma once

#include <ATen/core/Tensor.h>
#include <string>

namespace audiobookd::bench {

struct Ceilings {
  double bytes_per_second = 0; ///< read plus written by a copy within the device's memory
  double flop_per_second = 0;  ///< of a square matrix product
  std::string matmul;          ///< which: "bf16 8192^3"
};

/// Takes a fraction of a second and, on a GPU, 2.5 GB that it gives back.
Ceilings measure_ceilings(at::Device device);

} // namespace audiobookd::bench
