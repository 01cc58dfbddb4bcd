// Weight matrices in the order in which Hopper's tensor cores read them. Any thread may call it.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace audiobookd::engine::cuda {

/// Tiles of @p tile_rows outputs by 64 inputs, the inputs' tiles of one group of outputs one after another; in a tile
/// piece c (16 bytes) of output r lies at place c ^ (r % 8), the 128-byte swizzle.
/// @param weight [n tile_rows, 64 m]. @return flat bf16 on the weight's device
[[nodiscard]] at::Tensor pack_weights(const at::Tensor& weight, std::int64_t tile_rows);

/// The same in e4m3: in a tile piece c (16 bytes) of output r lies at place c ^ (r / 2 % 4), the 64-byte swizzle.
/// Sixteen inputs lie in the order in which the tensor cores hand them out as sums, so that the sums of one product are
/// the operand of the next one without changing hands: place 4 q + 2 h + o is input 8 h + 2 q + o.
/// @param weight [n tile_rows, 64 m], at most 448 large. @return flat bytes on the weight's device
[[nodiscard]] at::Tensor pack_weights_e4m3(const at::Tensor& weight, std::int64_t tile_rows);

} // namespace audiobookd::engine::cuda
