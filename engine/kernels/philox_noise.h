// Blocks of Philox normals in tensors of either device.
//
// The integers behind the numbers are the same everywhere; the floats agree between CPU and CUDA within the rounding of
// log, sin and cos. Callable from any thread; CUDA work goes to the calling thread's current stream.
#pragma once

#include "engine/philox.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::kernels {

/// Fills @p block, fp32 [rows, n] whose rows are contiguous (the row stride is free), with standard normals: element
/// [r, c] is word c % 4 of counter (purpose, attempt, r, c / 4), so a longer block begins with the shorter one's rows.
/// @throws std::invalid_argument for another dtype, rank or stride, or a device other than CPU and CUDA.
void fill_normal(const at::Tensor& block, const RandomStream& stream, RandomPurpose purpose);

/// Fills @p values, contiguous fp32 [n] on the CPU, with uniforms in (0, 1): element i is uniform(…, step 0, i).
/// @throws std::invalid_argument for another dtype, rank, stride or device.
void fill_uniform(const at::Tensor& values, const RandomStream& stream, RandomPurpose purpose);

} // namespace audiobookd::engine::kernels
