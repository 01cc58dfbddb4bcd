// The row convolution of the vocoder (see hift_kernels.h): a persistent kernel with one producer warpgroup that only
// starts copies and two consumer warpgroups that each carry 64 rows.
#pragma once

#include "engine/cuda/hift_kernels.h"
#include "engine/cuda/row_tiles.cuh"
#include "engine/cuda/snake.cuh"

namespace audiobookd::engine::cuda {

struct RowConvolutionParams {
  CUtensorMap x;
  RowConvolution layer;
  RowResult result;
  const std::uint8_t* valid;
  int rows;
  int tiles;
  int zero; // always 0
};

/// Sizes for one number of channels. A stage holds 128 rows by 64 columns of x and the weights for them.
template <int channels>
struct RowConvolutionShape {
  static constexpr int blocks_per_sm = channels == 64 ? 2 : 1;
  static constexpr int rows_bytes = tile_rows * tile_row_bytes;
  static constexpr int weight_bytes = channels * tile_row_bytes;
  static constexpr int stage_bytes = rows_bytes + weight_bytes;
  static constexpr int stages = 192 * 1024 / blocks_per_sm / stage_bytes;
  static constexpr int alignment = 1024;
  static constexpr int shared_bytes = alignment + stages * stage_bytes + 16 * stages;
  static constexpr int consumer_registers = channels == 64 ? 104 : 240;
};

namespace row_convolution {

template <int channels>
struct Shared {
  using Shape = RowConvolutionShape<channels>;
  std::uint32_t base;
  __device__ std::uint32_t rows(int stage) const { return base + stage * Shape::stage_bytes; }
  __device__ std::uint32_t weights(int stage) const { return rows(stage) + Shape::rows_bytes; }
  __device__ std::uint32_t full(int stage) const { return rows(Shape::stages) + 8 * stage; }
  __device__ std::uint32_t empty(int stage) const { return full(Shape::stages + stage); }
};

template <int channels>
__device__ void load(const RowConvolutionParams& params, const Shared<channels>& shared) {
  using Shape = RowConvolutionShape<channels>;
  Turn<Shape::stages> turn;
  for (int tile = static_cast<int>(blockIdx.x); tile < params.tiles; tile += static_cast<int>(gridDim.x)) {
    const char* weights = reinterpret_cast<const char*>(params.layer.weights);
    int row = tile * tile_rows - params.layer.taps / 2 * params.layer.dilation;
    for (int tap = 0; tap < params.layer.taps; ++tap, row += params.layer.dilation) {
      for (int column = 0; column < channels; column += tile_depth, weights += Shape::weight_bytes) {
        barrier_wait(shared.empty(turn.at), turn.parity ^ 1);
        barrier_expect(shared.full(turn.at), Shape::stage_bytes);
        tensor_load(shared.rows(turn.at), &params.x, column, row, shared.full(turn.at));
        bulk_load(shared.weights(turn.at), weights, Shape::weight_bytes, shared.full(turn.at));
        turn.advance();
      }
    }
  }
}

/// sums += x * weights over all stages of a tile.
template <int channels>
__device__ void multiply(float (&sums)[channels / 2], Turn<RowConvolutionShape<channels>::stages>& turn,
                         const Shared<channels>& shared, const Place& place, int chunks) {
  int last = 0;
  int chunk = 0;
#pragma unroll 1
  do {
    barrier_wait(shared.full(turn.at), turn.parity);
    const std::uint64_t left = wgmma_operand(shared.rows(turn.at) + place.group * 64 * tile_row_bytes);
    const std::uint64_t right = wgmma_operand(shared.weights(turn.at));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < tile_depth / 16; ++k) {
      wgmma(sums, left + 2 * k, right + 2 * k, 1);
    }
    wgmma_commit();
    if (chunk > 0) {
      wgmma_wait<1>();
      if (place.lane == 0) {
        barrier_arrive(shared.empty(last));
      }
    }
    last = turn.at;
    turn.advance();
  } while (++chunk < chunks);
  wgmma_wait<0>();
  if (place.lane == 0) {
    barrier_arrive(shared.empty(last));
  }
}

/// Adds the residual to this thread's columns 8 k (+ 1), k < 4, of one row and stores what is wanted.
/// @param own offset of the columns of k = 0. @param whole that of the block of eight columns which this lane stores.
/// @param alpha, inverse of this thread's columns.
__device__ inline void finish_columns(float (&x)[8], const RowResult& result, const float2 (&alpha)[4],
                                      const float2 (&inverse)[4], std::size_t own, std::size_t whole, bool inside,
                                      bool valid, int lane) {
  std::uint32_t words[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    float2 sum = make_float2(x[2 * k], x[2 * k + 1]);
    if (result.residual != nullptr && inside) {
      const float2 before = pair_at(result.residual + own + 8 * k);
      sum.x += before.x;
      sum.y += before.y;
    }
    sum = valid ? sum : make_float2(0, 0);
    if (result.plain != nullptr && inside) {
      *reinterpret_cast<float2*>(result.plain + own + 8 * k) = sum;
    }
    words[k] = pack(snake_of(sum.x, alpha[k].x, inverse[k].x), snake_of(sum.y, alpha[k].y, inverse[k].y));
    x[2 * k + 1] = sum.y;
  }
  if (result.active != nullptr) {
    const uint4 block = gather_block(words[0], words[1], words[2], words[3], lane);
    if (inside) {
      *reinterpret_cast<uint4*>(result.active + whole) = block;
    }
  }
}

template <int channels>
__device__ void finish(const float (&sums)[channels / 2], const RowConvolutionParams& params, const Place& place,
                       int first_row) {
  const RowResult& result = params.result;
  int shift = 0; // always 0, but lets no more than one group's loads be made at once: they would spill registers
#pragma unroll
  for (int j = 0; j < channels / 8; j += 4) {
    float2 alpha[4] = {};
    float2 inverse[4] = {};
    if (result.active != nullptr) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        alpha[k] = pair_at(result.snake.alpha + 8 * (j + k) + place.column + shift);
        inverse[k] = pair_at(result.snake.inverse + 8 * (j + k) + place.column + shift);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + place.row + 8 * half;
      const bool inside = row < params.rows;
      const bool valid = inside && params.valid[row + shift] != 0;
      float x[8];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        x[2 * k] = sums[4 * (j + k) + 2 * half];
        x[2 * k + 1] = sums[4 * (j + k) + 2 * half + 1];
      }
      const std::size_t at = static_cast<std::size_t>(row) * channels + 8 * j;
      finish_columns(x, result, alpha, inverse, at + place.column, at + 8 * (place.lane % 4), inside, valid,
                     place.lane);
      shift = __float_as_int(x[7]) & place.zero;
    }
  }
}

template <int channels>
__device__ void compute(const RowConvolutionParams& params, const Shared<channels>& shared) {
  const Place place(params.zero);
  Turn<RowConvolutionShape<channels>::stages> turn;
  const float* const bias = params.layer.bias + place.column;
  for (int tile = static_cast<int>(blockIdx.x); tile < params.tiles; tile += static_cast<int>(gridDim.x)) {
    float sums[channels / 2];
#pragma unroll
    for (int j = 0; j < channels / 8; ++j) {
      const float2 b = pair_at(bias + 8 * j);
      sums[4 * j] = sums[4 * j + 2] = b.x;
      sums[4 * j + 1] = sums[4 * j + 3] = b.y;
    }
    multiply<channels>(sums, turn, shared, place, params.layer.taps * (channels / tile_depth));
    finish<channels>(sums, params, place, tile * tile_rows);
  }
}

} // namespace row_convolution

template <int channels>
__global__ void __launch_bounds__(tile_threads, RowConvolutionShape<channels>::blocks_per_sm)
    row_convolution_kernel(const __grid_constant__ RowConvolutionParams params) {
  using Shape = RowConvolutionShape<channels>;
  constexpr int consumer_warps = 2 * warpgroup / 32;
  extern __shared__ char memory[];
  const row_convolution::Shared<channels> shared{(shared_address(memory) + Shape::alignment - 1) / Shape::alignment *
                                                 Shape::alignment};
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Shape::stages; ++stage) {
      barrier_init(shared.full(stage), 1);
      barrier_init(shared.empty(stage), consumer_warps);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < warpgroup) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      row_convolution::load<channels>(params, shared);
    }
  } else {
    take_registers<Shape::consumer_registers>();
    row_convolution::compute<channels>(params, shared);
  }
}

} // namespace audiobookd::engine::cuda
