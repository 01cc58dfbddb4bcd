// The CUDA launcher behind fill_normal(): no torch type, so that nvcc compiles it quickly. CUDA builds only.
#pragma once

#include "engine/philox.h"

#include <cstdint>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::kernels {

/// Launches the fill of device memory @p block, [rows, n] with @p row_stride floats from row to row, on @p stream.
/// @returns the launch's error code.
cudaError_t fill_normal_cuda(float* block, std::int64_t rows, std::int64_t n, std::int64_t row_stride,
                             const RandomStream& random, RandomPurpose purpose, cudaStream_t stream);

} // namespace audiobookd::engine::kernels
