#include "engine/cuda/hift_kernels_conv.cuh"
#include "engine/cuda/tensor_map.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <algorithm>
#include <c10/cuda/CUDAException.h>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::cuda {
namespace {

template <int channels>
void launch(const RowConvolution& layer, const __nv_bfloat16* x, const RowResult& result, const std::uint8_t* valid,
            int rows, cudaStream_t stream) {
  using Shape = RowConvolutionShape<channels>;
  RowConvolutionParams params{};
  params.box_rows = Shape::box_rows((layer.taps - 1) * layer.dilation);
  params.x = matrix_map(x, rows, channels, params.box_rows, tile_depth);
  params.layer = layer;
  params.result = result;
  params.valid = valid;
  params.rows = rows;
  params.tiles = Shape::tiles(rows);
  C10_CUDA_CHECK(cudaFuncSetAttribute(row_convolution_kernel<channels>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      Shape::shared_bytes));
  const int blocks = std::min(params.tiles, at::cuda::getCurrentDeviceProperties()->multiProcessorCount);
  row_convolution_kernel<channels>
      <<<static_cast<unsigned>(blocks), tile_threads, Shape::shared_bytes, stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace

void convolve_rows(const RowConvolution& layer, const __nv_bfloat16* x, const RowResult& result,
                   const std::uint8_t* valid, int rows, cudaStream_t stream) {
  if ((layer.taps - 1) * layer.dilation > max_convolution_reach) {
    throw std::invalid_argument("row convolutions reach over " + std::to_string(max_convolution_reach) +
                                " rows at most, not " + std::to_string((layer.taps - 1) * layer.dilation));
  }
  switch (layer.channels) {
  case 64: return launch<64>(layer, x, result, valid, rows, stream);
  case 128: return launch<128>(layer, x, result, valid, rows, stream);
  case 256: return launch<256>(layer, x, result, valid, rows, stream);
  default:
    throw std::invalid_argument("row convolutions have 64, 128 or 256 channels, not " + std::to_string(layer.channels));
  }
}

} // namespace audiobookd::engine::cuda
