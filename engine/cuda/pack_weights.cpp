#include "engine/cuda/pack_weights.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr std::int64_t depth = 64; // inputs of a tile

/// Tiles in which piece c of output r lies at place c ^ turn[r]. @param turn [tile_rows] int64
at::Tensor pack(const at::Tensor& weight, std::int64_t pieces, const at::Tensor& turn) {
  const std::int64_t tile_rows = turn.size(0);
  const std::int64_t groups = weight.size(0) / tile_rows;
  const std::int64_t tiles = weight.size(1) / depth;
  const at::Tensor tiled = weight.reshape({groups, tile_rows, tiles, pieces, depth / pieces})
                               .transpose(1, 2)
                               .contiguous(); // [groups, tiles, tile_rows, pieces, columns]
  const at::Tensor source = at::arange(pieces, turn.options()).unsqueeze(0).bitwise_xor(turn.unsqueeze(1));
  return tiled.gather(3, source.view({1, 1, tile_rows, pieces, 1}).expand(tiled.sizes())).flatten();
}

at::Tensor rows_of_tile(const at::Tensor& weight, std::int64_t tile_rows) {
  return at::arange(tile_rows, at::TensorOptions(at::kLong).device(weight.device()));
}

} // namespace

at::Tensor pack_weights(const at::Tensor& weight, std::int64_t tile_rows) {
  constexpr std::int64_t pieces = 8;
  return pack(weight.to(at::kBFloat16), pieces, rows_of_tile(weight, tile_rows).remainder(pieces));
}

at::Tensor pack_weights_e4m3(const at::Tensor& weight, std::int64_t tile_rows) {
  constexpr std::int64_t pieces = 4;
  const at::Tensor ordered = weight
                                 .reshape({weight.size(0), -1, 2, 4, 2}) // [outputs, sixteens, h, q, o]
                                 .transpose(2, 3)
                                 .reshape(weight.sizes())
                                 .to(at::kFloat8_e4m3fn)
                                 .view(at::kByte); // which ATen can move
  return pack(ordered, pieces, rows_of_tile(weight, tile_rows).floor_divide(2).remainder(pieces));
}

} // namespace audiobookd::engine::cuda
