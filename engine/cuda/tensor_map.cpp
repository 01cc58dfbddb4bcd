#include "engine/cuda/tensor_map.h"

#include <c10/cuda/CUDAException.h>
#include <cuda_runtime_api.h>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, looked up at run time so that the program also starts where there is no driver.
Encode encoder() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  C10_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result));
  if (result != cudaDriverEntryPointSuccess) {
    throw std::runtime_error("the NVIDIA driver has no cuTensorMapEncodeTiled; driver 525 or newer is needed");
  }
  return reinterpret_cast<Encode>(found);
}

/// What a map says of its elements.
struct Elements {
  CUtensorMapDataType type;
  std::size_t bytes;
  CUtensorMapSwizzle swizzle;
};

CUtensorMap make_map(const Elements& elements, const void* data, int rows, int columns, int box_rows, int box_columns,
                     int stride) {
  static const Encode encode = encoder();
  CUtensorMap map{};
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride == 0 ? columns : stride) * elements.bytes};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      encode(&map, elements.type, 2, const_cast<void*>(data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             elements.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw std::runtime_error("no tensor map for " + std::to_string(rows) + " rows of " + std::to_string(columns) +
                             ": driver error " + std::to_string(static_cast<int>(result)));
  }
  return map;
}

} // namespace

CUtensorMap matrix_map(const __nv_bfloat16* data, int rows, int columns, int box_rows, int box_columns, int stride) {
  return make_map({CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, sizeof(__nv_bfloat16), CU_TENSOR_MAP_SWIZZLE_128B}, data, rows,
                  columns, box_rows, box_columns, stride);
}

CUtensorMap matrix_map(const __nv_fp8_e4m3* data, int rows, int columns, int box_rows, int box_columns) {
  return make_map({CU_TENSOR_MAP_DATA_TYPE_UINT8, sizeof(__nv_fp8_e4m3), CU_TENSOR_MAP_SWIZZLE_64B}, data, rows,
                  columns, box_rows, box_columns, 0);
}

} // namespace audiobookd::engine::cuda
