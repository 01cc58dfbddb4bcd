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
    load(params, shared, turn, Tile<channels>(index));
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

/// Four blocks of eight columns in 16 rows of a warp, of which a thread has columns 8 k (+ 1), k < 4, in rows `row` and
/// `row` + 8.
struct Group {
  int row;
  std::size_t own;   // offset of this thread's first column in `row`
  std::size_t whole; // that of the block of eight columns which this lane stores
  int row_step;      // offset of the row eight further down
};

/// What is added to a group's sums.
struct Residual {
  float2 at[2][4];
};

__device__ inline void load_residual(Residual& residual, const RowConvolutionParams& params, const Group& group) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const bool inside = params.result.residual != nullptr && group.row + 8 * half < params.rows;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      residual.at[half][k] =
          inside ? pair_at(params.result.residual + group.own + half * group.row_step + 8 * k) : make_float2(0, 0);
    }
  }
}

/// Adds the residual to a group's sums and stores what is wanted. @param snake of this thread's columns.
__device__ inline void finish_group(const float (&sums)[16], const Residual& residual, const Snake& snake,
                                    const RowConvolutionParams& params, const Group& group, int lane) {
  const RowResult& result = params.result;
  const bool inside[2] = {group.row < params.rows, group.row + 8 < params.rows};
  const bool valid[2] = {inside[0] && params.valid[group.row] != 0, inside[1] && params.valid[group.row + 8] != 0};
  float2 alpha[4] = {};
  float2 inverse[4] = {};
  if (result.active != nullptr) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      alpha[k] = pair_at(snake.alpha + 8 * k);
      inverse[k] = pair_at(snake.inverse + 8 * k);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::size_t shift = half * group.row_step;
    std::uint32_t words[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float2 more = residual.at[half][k];
      float2 sum = make_float2(sums[4 * k + 2 * half] + more.x, sums[4 * k + 2 * half + 1] + more.y);
      sum = valid[half] ? sum : make_float2(0, 0);
      if (result.plain != nullptr && inside[half]) {
        *reinterpret_cast<float2*>(result.plain + group.own + shift + 8 * k) = sum;
      }
      words[k] = pack(snake_of(sum.x, alpha[k].x, inverse[k].x), snake_of(sum.y, alpha[k].y, inverse[k].y));
    }
    if (result.active != nullptr) {
      const uint4 block = gather_block(words[0], words[1], words[2], words[3], lane);
      if (inside[half]) {
        *reinterpret_cast<uint4*>(result.active + group.whole + shift) = block;
      }
    }
  }
}

/// Finishes a warpgroup's tile. Results may go where residuals come from, so a load behind a store waits for it: the
/// next group's residual is on its way before this group's results are stored.
template <int channels>
__device__ void finish(const Sums<channels>& sums, const RowConvolutionParams& params, const Place& place,
                       const Tile<channels>& tile) {
  using Shape = RowConvolutionShape<channels>;
  constexpr int groups_a_strip = Shape::columns / 32;
  constexpr int groups = Shape::strips * groups_a_strip;
  const auto group_at = [&](int i) {
    const int row = tile.row + i / groups_a_strip * 64 + place.thread / 32 * 16 + place.lane / 4;
    const std::size_t at = static_cast<std::size_t>(row) * channels + tile.column + i % groups_a_strip * 32;
    return Group{row, at + place.column, at + 8 * (place.lane % 4), 8 * channels};
  };
  Residual residuals[2];
  load_residual(residuals[0], params, group_at(0));
#pragma unroll
  for (int i = 0; i < groups; ++i) {
    if (i + 1 < groups) {
      load_residual(residuals[(i + 1) % 2], params, group_at(i + 1));
    }
    const int column = tile.column + i % groups_a_strip * 32 + place.column;
    float own[16];
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      own[k] = sums[i / groups_a_strip][i % groups_a_strip * 16 + k];
    }
    finish_group(own, residuals[i % 2], {params.result.snake.alpha + column, params.result.snake.inverse + column},
                 params, group_at(i), place.lane);
  }
}

/// One of both multiplying warpgroups: every second tile of the block.
template <int channels>
__device__ void compute(const RowConvolutionParams& params, const Shared<channels>& shared) {
  using Shape = RowConvolutionShape<channels>;
  const Place place(0);
  const auto turn_barrier = [](int group) { return 1 + group; };
  constexpr int both_groups = 2 * warpgroup;
  const int step = static_cast<int>(gridDim.x);
  Turns<channels> turn;
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
    finish<channels>(sums, params, place, tile);
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
