// The row convolution of the vocoder (see hift_kernels.h): a persistent kernel with two warpgroups that multiply and
// one of which a single thread starts copies.
//
// The two take tiles by turns, and turns at the tensor cores: while one multiplies, the other adds residuals, computes
// Snakes and stores. A tile's rows are copied once for all taps, with as many around them as the convolution reaches; a
// tap reads them from another row on. Shared memory has a ring of such windows, 64 columns each, and a ring of the
// weights for one tap and 64 columns.
#pragma once

#include "engine/cuda/hift_kernels.h"
#include "engine/cuda/row_tiles.cuh"
#include "engine/cuda/snake.cuh"

namespace audiobookd::engine::cuda {

struct RowConvolutionParams {
  CUtensorMap x; // boxes of box_rows
  RowConvolution layer;
  RowResult result;
  const std::uint8_t* valid;
  int rows;
  int tiles;
  int box_rows; // that one copy brings, a multiple of 8
  int zero;     // always 0
};

/// Sizes for one number of channels. A warpgroup's sums are 128 registers a thread.
template <int channels>
struct RowConvolutionShape {
  static constexpr int columns = channels == 64 ? 64 : 128; // of a tile
  static constexpr int strips = 256 / columns;              // of 64 rows in a tile
  static constexpr int rows = 64 * strips;
  static constexpr int window_rows = rows + (max_convolution_reach + 7) / 8 * 8;
  static constexpr int copies = strips == 4 ? 3 : 1; // that bring a window: a box has 256 rows at most
  static constexpr int window_bytes = window_rows * tile_row_bytes;
  static constexpr int windows = strips == 4 ? 4 : 5;
  static constexpr int weight_bytes = columns * tile_row_bytes;
  static constexpr int stages = strips == 4 ? 8 : 6; // of weights
  static constexpr int chunks = channels / tile_depth;
  static constexpr int alignment = 1024;
  static constexpr int shared_bytes =
      alignment + windows * window_bytes + stages * weight_bytes + 16 * (windows + stages);
  static_assert(window_bytes % alignment == 0 && window_rows % (8 * copies) == 0);
  static_assert(shared_bytes <= 227 * 1024);

  /// Rows that one copy brings of a window for taps so far apart.
  static constexpr int box_rows(int reach) { return (rows + reach + 8 * copies - 1) / (8 * copies) * 8; }
  /// Tiles of a matrix.
  static constexpr int tiles(int matrix_rows) { return (matrix_rows + rows - 1) / rows * (channels / columns); }
};

namespace row_convolution {

/// Of the results' groups of columns, whose residuals are loaded together.
constexpr int groups_in_flight = 4;

/// Asks for @p bytes (a multiple of 16) of global memory to be brought to the L2 cache.
__device__ inline void prefetch(const void* from, std::uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(from), "r"(bytes) : "memory");
}

template <int channels>
struct Shared {
  using Shape = RowConvolutionShape<channels>;
  std::uint32_t base;
  __device__ std::uint32_t window(int i) const { return base + i * Shape::window_bytes; }
  __device__ std::uint32_t weights(int i) const { return window(Shape::windows) + i * Shape::weight_bytes; }
  __device__ std::uint32_t barrier(int i) const { return weights(Shape::stages) + 8 * i; }
  __device__ std::uint32_t window_full(int i) const { return barrier(i); }
  __device__ std::uint32_t window_empty(int i) const { return barrier(Shape::windows + i); }
  __device__ std::uint32_t weights_full(int i) const { return barrier(2 * Shape::windows + i); }
  __device__ std::uint32_t weights_empty(int i) const { return barrier(2 * Shape::windows + Shape::stages + i); }
};

/// The part of the result that a warpgroup makes at a time.
template <int channels>
struct Tile {
  using Shape = RowConvolutionShape<channels>;
  int row;    // first one
  int column; // first one
  __device__ explicit Tile(int index)
      : row(index / (channels / Shape::columns) * Shape::rows),
        column(index % (channels / Shape::columns) * Shape::columns) {}
};

template <int size>
__device__ void skip(Turn<size>& turn, int count) {
  const int to = turn.at + count;
  turn.parity ^= to / size & 1;
  turn.at = to % size;
}

/// Where a thread is in both rings.
template <int channels>
struct Turns {
  Turn<RowConvolutionShape<channels>::windows> window;
  Turn<RowConvolutionShape<channels>::stages> weights;
  __device__ void skip_tile(int taps) {
    constexpr int chunks = RowConvolutionShape<channels>::chunks;
    skip(window, chunks);
    skip(weights, chunks * taps);
  }
};

/// Copies one tile's windows and weights.
template <int channels>
__device__ void load(const RowConvolutionParams& params, const Shared<channels>& shared, Turns<channels>& turn,
                     const Tile<channels>& tile) {
  using Shape = RowConvolutionShape<channels>;
  const char* const weights = reinterpret_cast<const char*>(params.layer.weights);
  const std::uint32_t box_bytes = params.box_rows * tile_row_bytes;
  const int first_row = tile.row - params.layer.taps / 2 * params.layer.dilation;
  for (int chunk = 0; chunk < Shape::chunks; ++chunk) {
    const int window = turn.window.at;
    barrier_wait(shared.window_empty(window), turn.window.parity ^ 1);
    barrier_expect(shared.window_full(window), Shape::copies * box_bytes);
    for (int copy = 0; copy < Shape::copies; ++copy) {
      tensor_load(shared.window(window) + copy * box_bytes, &params.x, chunk * tile_depth,
                  first_row + copy * params.box_rows, shared.window_full(window));
    }
    turn.window.advance();
    for (int tap = 0; tap < params.layer.taps; ++tap) {
      const int stage = turn.weights.at;
      barrier_wait(shared.weights_empty(stage), turn.weights.parity ^ 1);
      barrier_expect(shared.weights_full(stage), Shape::weight_bytes);
      bulk_load(shared.weights(stage),
                weights + ((tap * Shape::chunks + chunk) * channels + tile.column) * tile_row_bytes,
                Shape::weight_bytes, shared.weights_full(stage));
      turn.weights.advance();
    }
  }
}

template <int channels>
__device__ void load_all(const RowConvolutionParams& params, const Shared<channels>& shared) {
  using Shape = RowConvolutionShape<channels>;
  Turns<channels> turn;
  for (int index = static_cast<int>(blockIdx.x); index < params.tiles; index += static_cast<int>(gridDim.x)) {
    const Tile<channels> tile(index);
    if (params.result.residual != nullptr && tile.column == 0) {
      prefetch(params.result.residual + static_cast<std::size_t>(tile.row) * channels,
               min(Shape::rows, params.rows - tile.row) * channels * sizeof(float));
    }
    load(params, shared, turn, tile);
  }
}

template <int channels>
using Sums = float[RowConvolutionShape<channels>::strips][RowConvolutionShape<channels>::columns / 2];

/// sums += x * weights over all taps and columns of a tile. @param hand_over called when all products have been
/// started.
template <int channels, class HandOver>
__device__ void multiply(Sums<channels>& sums, Turns<channels>& turn, const Shared<channels>& shared, int lane,
                         const RowConvolution& layer, const HandOver& hand_over) {
  using Shape = RowConvolutionShape<channels>;
  constexpr int strip_step = 64 * tile_row_bytes >> 4; // in units of the description
  const auto release = [&](std::uint32_t barrier) {
    if (lane == 0) {
      barrier_arrive(barrier);
    }
  };
#pragma unroll 1
  for (int chunk = 0; chunk < Shape::chunks; ++chunk) {
    const int window = turn.window.at;
    barrier_wait(shared.window_full(window), turn.window.parity);
    std::uint32_t rows = shared.window(window);
    int last = 0;
    int tap = 0;
#pragma unroll 1
    do {
      barrier_wait(shared.weights_full(turn.weights.at), turn.weights.parity);
      const std::uint64_t left = wgmma_operand(rows);
      const std::uint64_t right = wgmma_operand(shared.weights(turn.weights.at));
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < tile_depth / 16; ++k) {
#pragma unroll
        for (int strip = 0; strip < Shape::strips; ++strip) {
          wgmma(sums[strip], left + strip * strip_step + 2 * k, right + 2 * k, 1);
        }
      }
      wgmma_commit();
      if (tap > 0) {
        wgmma_wait<1>();
        release(shared.weights_empty(last));
      }
      last = turn.weights.at;
      turn.weights.advance();
      rows += layer.dilation * tile_row_bytes;
    } while (++tap < layer.taps);
    if (chunk + 1 == Shape::chunks) {
      hand_over();
    }
    wgmma_wait<0>();
    release(shared.weights_empty(last));
    release(shared.window_empty(window));
    turn.window.advance();
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

/// Finishes a warpgroup's strip of 64 rows. @param shifts always 0, but let no more than groups_in_flight groups' loads
/// be made at once: they would spill registers.
template <int channels>
__device__ void finish(const float (&sums)[RowConvolutionShape<channels>::columns / 2],
                       const RowConvolutionParams& params, const Place& place, const Tile<channels>& tile, int strip,
                       int (&shifts)[groups_in_flight]) {
  const RowResult& result = params.result;
#pragma unroll
  for (int j = 0; j < RowConvolutionShape<channels>::columns / 8; j += 4) {
    const int column = tile.column + 8 * j;
    float2 alpha[4] = {};
    float2 inverse[4] = {};
    if (result.active != nullptr) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        alpha[k] = pair_at(result.snake.alpha + column + 8 * k + place.column + shifts[0]);
        inverse[k] = pair_at(result.snake.inverse + column + 8 * k + place.column + shifts[0]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int& shift = shifts[(j / 2 + half) % groups_in_flight];
      const int row = tile.row + 64 * strip + place.thread / 32 * 16 + place.lane / 4 + 8 * half;
      const bool inside = row < params.rows;
      const bool valid = inside && params.valid[row + shift] != 0;
      float x[8];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        x[2 * k] = sums[4 * (j + k) + 2 * half];
        x[2 * k + 1] = sums[4 * (j + k) + 2 * half + 1];
      }
      const std::size_t at = static_cast<std::size_t>(row) * channels + column;
      finish_columns(x, result, alpha, inverse, at + place.column, at + 8 * (place.lane % 4), inside, valid,
                     place.lane);
      shift = __float_as_int(x[7]) & place.zero;
    }
  }
}

/// One of both multiplying warpgroups: every second tile of the block.
template <int channels>
__device__ void compute(const RowConvolutionParams& params, const Shared<channels>& shared) {
  using Shape = RowConvolutionShape<channels>;
  const Place place(params.zero);
  const auto turn_barrier = [](int group) { return 1 + group; };
  constexpr int both_groups = 2 * warpgroup;
  const int step = static_cast<int>(gridDim.x);
  Turns<channels> turn;
  int shifts[groups_in_flight] = {};
  int number = 0; // of the block's tile
  for (int index = static_cast<int>(blockIdx.x); index < params.tiles; index += step, ++number) {
    if (number % 2 != place.group) {
      turn.skip_tile(params.layer.taps);
      continue;
    }
    const Tile<channels> tile(index);
    const float* const bias = params.layer.bias + tile.column + place.column;
    Sums<channels> sums;
#pragma unroll
    for (int j = 0; j < Shape::columns / 8; ++j) {
      const float2 b = pair_at(bias + 8 * j);
#pragma unroll
      for (int strip = 0; strip < Shape::strips; ++strip) {
        sums[strip][4 * j] = sums[strip][4 * j + 2] = b.x;
        sums[strip][4 * j + 1] = sums[strip][4 * j + 3] = b.y;
      }
    }
    if (number > 0) {
      named_barrier(turn_barrier(place.group), both_groups);
    }
    multiply<channels>(sums, turn, shared, place.lane, params.layer, [&] {
      if (index + step < params.tiles) {
        named_barrier_arrive(turn_barrier(1 - place.group), both_groups);
      }
    });
#pragma unroll
    for (int strip = 0; strip < Shape::strips; ++strip) {
      finish<channels>(sums[strip], params, place, tile, strip, shifts);
    }
  }
}

} // namespace row_convolution

template <int channels>
__global__ void __launch_bounds__(tile_threads, 1)
    row_convolution_kernel(const __grid_constant__ RowConvolutionParams params) {
  using Shape = RowConvolutionShape<channels>;
  constexpr int warps_a_tile = warpgroup / 32;
  extern __shared__ char memory[];
  const row_convolution::Shared<channels> shared{(shared_address(memory) + Shape::alignment - 1) / Shape::alignment *
                                                 Shape::alignment};
  if (threadIdx.x == 0) {
    for (int window = 0; window < Shape::windows; ++window) {
      barrier_init(shared.window_full(window), 1);
      barrier_init(shared.window_empty(window), warps_a_tile);
    }
    for (int stage = 0; stage < Shape::stages; ++stage) {
      barrier_init(shared.weights_full(stage), 1);
      barrier_init(shared.weights_empty(stage), warps_a_tile);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < warpgroup) {
    give_registers<24>();
    if (threadIdx.x == 0) {
      row_convolution::load_all<channels>(params, shared);
    }
  } else {
    take_registers<240>();
    row_convolution::compute<channels>(params, shared);
  }
}

} // namespace audiobookd::engine::cuda
