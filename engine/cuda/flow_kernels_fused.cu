#include "engine/cuda/flow_kernels_fused.cuh"
#include "engine/cuda/tensor_map.h"

#include <algorithm>
#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

int multiprocessors() {
  int device = 0;
  int count = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

template <Chain chain, class Operand = __nv_bfloat16>
void launch(FusedParams& params, cudaStream_t stream) {
  constexpr auto kernel = fused_kernel<chain, Operand>;
  constexpr int shared_bytes = Memory<chain, Operand>::bytes;
  params.tiles = (params.rows + tile_rows - 1) / tile_rows;
  const int pairs = std::min((params.tiles + cluster_blocks - 1) / cluster_blocks, multiprocessors() / cluster_blocks);
  C10_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(pairs * cluster_blocks));
  config.blockDim = dim3(tile_threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {cluster_blocks, 1, 1};
  config.attrs = &cluster;
  config.numAttrs = 1;
  C10_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, params));
}

template <class Element>
CUtensorMap tile_map(const Element* data, int rows, int columns) {
  return matrix_map(data, rows, columns, group_rows, tile_depth);
}

} // namespace

void fused_convolution(const FusedConvolution& layer, const Rows& x, const int* positions, __nv_bfloat16* out, int rows,
                       cudaStream_t stream) {
  FusedParams params{};
  params.first = tile_map(x.data, rows, x.columns);
  params.chunks_per_tap = x.columns / tile_depth;
  params.first_chunks = convolution_taps * params.chunks_per_tap;
  params.weights = layer.weights;
  params.positions = positions;
  params.bias = layer.bias;
  params.norm = layer.norm;
  params.addend = layer.addend;
  params.out = out;
  params.rows = rows;
  if (layer.norm.weight == nullptr) {
    launch<Chain::convolution>(params, stream);
  } else {
    launch<Chain::convolution_mish>(params, stream);
  }
}

template <class Operand>
void fused_entrance(const FusedEntrance<Operand>& layer, const Rows& y, const Rows& x, const int* positions,
                    float* residual, __nv_bfloat16* qkv, int rows, cudaStream_t stream) {
  FusedParams params{};
  params.first = tile_map(y.data, rows, y.columns);
  params.second = tile_map(x.data, rows, x.columns);
  params.chunks_per_tap = y.columns / tile_depth;
  params.first_chunks = convolution_taps * params.chunks_per_tap;
  params.second_chunks = x.columns / tile_depth;
  params.weights = layer.weights;
  params.positions = positions;
  params.bias = layer.bias;
  params.norm = layer.norm;
  params.addend = layer.shortcut_bias;
  params.projection_bias = layer.projection_bias;
  params.residual = residual;
  params.projections = tile_map(qkv, rows, 3 * fused_inner);
  params.rows = rows;
  params.factors = layer.factors;
  launch<Chain::entrance, Operand>(params, stream);
}

template <class Operand>
void fused_block(const FusedBlock<Operand>& layer, const Operand* attended, float* residual, __nv_bfloat16* out,
                 int rows, cudaStream_t stream) {
  FusedParams params{};
  params.first = tile_map(attended, rows, fused_inner);
  params.first_chunks = fused_inner / tile_depth;
  params.weights = layer.weights;
  params.bias = layer.out_bias;
  params.widen_bias = layer.widen_bias;
  params.addend = layer.narrow_bias;
  params.projection_bias = layer.projection_bias;
  params.residual = residual;
  params.rows = rows;
  params.factors = layer.factors;
  if (layer.projection_bias == nullptr) {
    params.out = out;
    launch<Chain::last_block, Operand>(params, stream);
  } else {
    params.projections = tile_map(out, rows, 3 * fused_inner);
    launch<Chain::block, Operand>(params, stream);
  }
}

template void fused_entrance(const FusedEntrance<__nv_bfloat16>&, const Rows&, const Rows&, const int*, float*,
                             __nv_bfloat16*, int, cudaStream_t);
template void fused_entrance(const FusedEntrance<__nv_fp8_e4m3>&, const Rows&, const Rows&, const int*, float*,
                             __nv_bfloat16*, int, cudaStream_t);
template void fused_block(const FusedBlock<__nv_bfloat16>&, const __nv_bfloat16*, float*, __nv_bfloat16*, int,
                          cudaStream_t);
template void fused_block(const FusedBlock<__nv_fp8_e4m3>&, const __nv_fp8_e4m3*, float*, __nv_bfloat16*, int,
                          cudaStream_t);

} // namespace audiobookd::engine::cuda
