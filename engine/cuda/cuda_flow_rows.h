// How the utterances of the bf16 flow lie in rows, and the attention over them. Works on the current stream.
#pragma once

#include "engine/layers/packed_rows.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::cuda {

/// A packed batch with its guidance rows: all conditional sequences, then the same ones unconditional.
struct GuidedRows {
  std::int64_t frames = 0;  // of one half
  std::int64_t longest = 0; // sequence
  at::Tensor positions;     // [2 * frames] int32, a row's place in its sequence
  at::Tensor starts;        // [2 * sequences + 1] int32, cumulative lengths
  at::Tensor tiles;         // [tiles, 2] int32, the attention's AttentionTiles

  GuidedRows(const PackedRows& rows, at::Device device);
  [[nodiscard]] std::int64_t total() const noexcept { return 2 * frames; }
};

/// Query-key-value weights [3 * heads * head_dim, columns] for attend(): those of queries times log2(e) /
/// sqrt(head_dim).
[[nodiscard]] at::Tensor with_scaled_queries(const at::Tensor& weight, std::int64_t head_dim);

/// Attention of each sequence to itself with weights of 2^(query key), see with_scaled_queries().
/// @param qkv bf16 [rows, 3 * heads * head_dim].
/// @return bf16 [rows, heads * head_dim]
[[nodiscard]] at::Tensor attend(const at::Tensor& qkv, const GuidedRows& rows, std::int64_t heads);

/// The same in e4m3 in the order of pack_weights_e4m3(), for heads of 64 on Hopper. @return bytes
[[nodiscard]] at::Tensor attend_e4m3(const at::Tensor& qkv, const GuidedRows& rows, std::int64_t heads);

} // namespace audiobookd::engine::cuda
