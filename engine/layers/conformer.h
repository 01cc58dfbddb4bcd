// Conformer encoder block over packed rows: self-attention with relative positions and a feed-forward layer
// (Gulati et al. 2020, without the convolution module; positions after Dai et al. 2019 as ESPnet implements them).
//
// forward() may extend a position table: one thread at a time.
#pragma once

#include "engine/layers/linear.h"
#include "engine/layers/packed_rows.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine {

/// Sinusoids of the offsets length - 1 … 1 - length (query position minus key position), sines and cosines interleaved.
/// @return [2 length - 1, channels] fp32 on the CPU
[[nodiscard]] at::Tensor relative_sinusoids(std::int64_t length, std::int64_t channels);

/// Multi-head attention of each sequence to itself, score (q + u) k + (q + v) p[i - j], over sqrt(head width).
class RelativeAttention {
public:
  /// @param weights the dictionary at "….self_attn.".
  RelativeAttention(const StateDict& weights, std::int64_t size, std::int64_t num_heads);
  /// @param x [rows.total(), size]. @return the same shape
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, const PackedRows& rows);

  [[nodiscard]] std::int64_t num_heads() const noexcept { return num_heads_; }
  /// Of queries, keys and values, [3 * size, size] and [3 * size].
  [[nodiscard]] const at::Tensor& qkv_weight() const noexcept { return qkv_weight_; }
  [[nodiscard]] const at::Tensor& qkv_bias() const noexcept { return qkv_bias_; }
  [[nodiscard]] const Linear& out() const noexcept { return out_; }
  /// From relative_sinusoids() to p, [size, size].
  [[nodiscard]] const at::Tensor& position_weight() const noexcept { return position_weight_; }
  /// u and v, [heads, head width].
  [[nodiscard]] const at::Tensor& content_bias() const noexcept { return content_bias_; }
  [[nodiscard]] const at::Tensor& position_bias() const noexcept { return position_bias_; }

private:
  void extend_positions(std::int64_t length);
  [[nodiscard]] at::Tensor attend(const at::Tensor& qkv) const;

  std::int64_t num_heads_;
  std::int64_t head_dim_;
  at::Tensor qkv_weight_; // [3 * size, size]
  at::Tensor qkv_bias_;   // [3 * size]
  Linear out_;
  at::Tensor position_weight_; // [size, size]
  at::Tensor content_bias_;    // u, [heads, head_dim]
  at::Tensor position_bias_;   // v, [heads, head_dim]
  at::Tensor positions_;       // [heads, head_dim, 2 * capacity - 1], for the longest sequence so far
};

/// Pre-norm block: x + attention(norm(x)), then x + w2(silu(w1(norm(x)))).
class ConformerBlock {
public:
  /// @param weights the dictionary of one block.
  ConformerBlock(const StateDict& weights, std::int64_t size, std::int64_t num_heads, std::int64_t linear_units);
  /// @param x [rows.total(), size]. @return the same shape
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, const PackedRows& rows);

  [[nodiscard]] const LayerNorm& attention_norm() const noexcept { return attention_norm_; }
  [[nodiscard]] const RelativeAttention& attention() const noexcept { return attention_; }
  [[nodiscard]] const LayerNorm& feed_forward_norm() const noexcept { return feed_forward_norm_; }
  [[nodiscard]] const Linear& widen() const noexcept { return widen_; }
  [[nodiscard]] const Linear& narrow() const noexcept { return narrow_; }

private:
  LayerNorm attention_norm_;
  RelativeAttention attention_;
  LayerNorm feed_forward_norm_;
  Linear widen_;
  Linear narrow_;
};

} // namespace audiobookd::engine
