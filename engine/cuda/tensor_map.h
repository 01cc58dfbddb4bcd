// Descriptions of matrices in global memory for Hopper's tensor copies (TMA). Any thread may call it.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace audiobookd::engine::cuda {

/// A bf16 matrix whose boxes arrive in shared memory in the 128-byte swizzle; what lies outside arrives as zeros.
/// @param data 16-byte aligned, row-major. @param stride of rows in elements, a multiple of 8; 0: @p columns.
/// @param box_rows at most 256. @param box_columns at most 64.
/// @throws std::runtime_error when the driver refuses.
[[nodiscard]] CUtensorMap matrix_map(const __nv_bfloat16* data, int rows, int columns, int box_rows, int box_columns,
                                     int stride = 0);

/// The same of e4m3 in the 64-byte swizzle. @param data rows without gaps. @param columns a multiple of 16.
[[nodiscard]] CUtensorMap matrix_map(const __nv_fp8_e4m3* data, int rows, int columns, int box_rows, int box_columns);

} // namespace audiobookd::engine::cuda
