#include "engine/cuda/pack_weights.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::cuda {

at::Tensor pack_weights(const at::Tensor& weight, std::int64_t tile_rows) {
  constexpr std::int64_t depth = 64;
  constexpr std::int64_t pieces = 8;
  const std::int64_t groups = weight.size(0) / tile_rows;
  const std::int64_t tiles = weight.size(1) / depth;
  const at::Tensor tiled = weight.to(at::kBFloat16)
                               .reshape({groups, tile_rows, tiles, pieces, depth / pieces})
                               .transpose(1, 2)
                               .contiguous(); // [groups, tiles, tile_rows, pieces, 8]
  const at::TensorOptions integers = at::TensorOptions(at::kLong).device(weight.device());
  const at::Tensor rows = at::arange(tile_rows, integers).remainder(pieces).unsqueeze(1);
  const at::Tensor source = at::arange(pieces, integers).unsqueeze(0).bitwise_xor(rows); // [tile_rows, pieces]
  return tiled.gather(3, source.view({1, 1, tile_rows, pieces, 1}).expand(tiled.sizes())).flatten();
}

} // namespace audiobookd::engine::cuda
