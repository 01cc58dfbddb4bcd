#include "engine/cuda/hift_kernels_conv.cuh"
#include "engine/cuda/tensor_map.h"

#include <algorithm>
#include <c10/cuda/CUDAException.h>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::cuda {
namespace {

template <int channels>
void launch(RowConvolutionParams& params, cudaStream_t stream) {
  using Shape = RowConvolutionShape<channels>;
  int device = 0;
  int multiprocessors = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  C10_CUDA_CHECK(cudaFuncSetAttribute(row_convolution_kernel<channels>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      Shape::shared_bytes));
  const int blocks = std::min(params.tiles, multiprocessors * Shape::blocks_per_sm);
  row_convolution_kernel<channels>
      <<<static_cast<unsigned>(blocks), tile_threads, Shape::shared_bytes, stream>>>(params);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace

void convolve_rows(const RowConvolution& layer, const __nv_bfloat16* x, const RowResult& result,
                   const std::uint8_t* valid, int rows, cudaStream_t stream) {
  RowConvolutionParams params{};
  params.x = matrix_map(x, rows, layer.channels, tile_rows, tile_depth);
  params.layer = layer;
  params.result = result;
  params.valid = valid;
  params.rows = rows;
  params.tiles = (rows + tile_rows - 1) / tile_rows;
  switch (layer.channels) {
  case 64: return launch<64>(params, stream);
  case 128: return launch<128>(params, stream);
  case 256: return launch<256>(params, stream);
  default:
    throw std::invalid_argument("row convolutions have 64, 128 or 256 channels, not " + std::to_string(layer.channels));
  }
}

} // namespace audiobookd::engine::cuda
