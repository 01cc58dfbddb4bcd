// Conformer block: relative attention sequence by sequence, everything else over all rows at once.
#include "engine/layers/conformer.h"

#include <ATen/ATen.h>
#include <cmath>

namespace audiobookd::engine {
namespace {

constexpr double norm_epsilon = 1e-12;
/// Position tables grow in steps of so many rows, so that slowly growing lengths do not recompute them each time.
constexpr std::int64_t position_granularity = 512;

} // namespace

at::Tensor relative_sinusoids(std::int64_t length, std::int64_t channels) {
  const at::Tensor offsets = at::arange(length - 1, -length, -1, at::kFloat).unsqueeze(1);
  const at::Tensor frequencies = at::exp(at::arange(0, channels, 2, at::kFloat) * -(std::log(10000.0) / channels));
  const at::Tensor angles = offsets * frequencies;
  return at::stack({at::sin(angles), at::cos(angles)}, 2).reshape({2 * length - 1, channels});
}

RelativeAttention::RelativeAttention(const StateDict& weights, std::int64_t size, std::int64_t num_heads)
    : num_heads_(num_heads), head_dim_(size / num_heads), out_(weights, "linear_out", size, size),
      position_weight_(weights.get("linear_pos.weight", {size, size})),
      content_bias_(weights.get("pos_bias_u", {num_heads, head_dim_})),
      position_bias_(weights.get("pos_bias_v", {num_heads, head_dim_})) {
  const Linear q(weights, "linear_q", size, size);
  const Linear k(weights, "linear_k", size, size);
  const Linear v(weights, "linear_v", size, size);
  qkv_weight_ = at::cat({q.weight, k.weight, v.weight});
  qkv_bias_ = at::cat({q.bias, k.bias, v.bias});
}

void RelativeAttention::extend_positions(std::int64_t length) {
  if (positions_.defined() && positions_.size(2) >= 2 * length - 1) {
    return;
  }
  const std::int64_t capacity = (length + position_granularity - 1) / position_granularity * position_granularity;
  const at::Tensor sinusoids = relative_sinusoids(capacity, position_weight_.size(1)).to(position_weight_.device());
  positions_ = at::linear(sinusoids, position_weight_)
                   .view({2 * capacity - 1, num_heads_, head_dim_})
                   .permute({1, 2, 0})
                   .contiguous();
}

/// Attention within one sequence. @param qkv [length, 3, heads, head_dim]. @return [length, heads, head_dim]
at::Tensor RelativeAttention::attend(const at::Tensor& qkv) const {
  const std::int64_t length = qkv.size(0);
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim_));
  const at::Tensor q = qkv.select(1, 0);
  // Column m of `by_offset` belongs to offset length - 1 - m, so key j of query i is column length - 1 - i + j:
  // the table is already there, it only has to be read with a row stride shorter by one.
  const std::int64_t centre = positions_.size(2) / 2;
  const at::Tensor by_offset = at::matmul((q + position_bias_).transpose(0, 1).contiguous(),
                                          positions_.narrow(2, centre - (length - 1), 2 * length - 1));
  const std::int64_t columns = 2 * length - 1;
  const at::Tensor position_scores =
      by_offset.as_strided({num_heads_, length, length}, {length * columns, columns - 1, 1}, length - 1) * scale;
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const at::Tensor query = heads_first(q + content_bias_);
  const at::Tensor key = heads_first(qkv.select(1, 1));
  const at::Tensor value = heads_first(qkv.select(1, 2));
  if (qkv.is_cuda()) {
    // Written out: cuDNN's attention, which ATen would choose for bf16, is compiled anew for every length.
    const at::Tensor scores = at::matmul(query, key.transpose(2, 3)) * scale + position_scores;
    return at::matmul(at::softmax(scores, -1), value).squeeze(0).transpose(0, 1);
  }
  return at::scaled_dot_product_attention(query, key, value, position_scores.unsqueeze(0), 0.0, false, scale)
      .squeeze(0)
      .transpose(0, 1);
}

at::Tensor RelativeAttention::forward(const at::Tensor& x, const PackedRows& rows) {
  extend_positions(rows.longest());
  const at::Tensor qkv = at::linear(x, qkv_weight_, qkv_bias_).view({rows.total(), 3, num_heads_, head_dim_});
  at::Tensor attended = at::empty({rows.total(), num_heads_, head_dim_}, x.options());
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    attended.narrow(0, rows.start(i), rows.length(i)).copy_(attend(qkv.narrow(0, rows.start(i), rows.length(i))));
  }
  return out_(attended.view({rows.total(), num_heads_ * head_dim_}));
}

ConformerBlock::ConformerBlock(const StateDict& weights, std::int64_t size, std::int64_t num_heads,
                               std::int64_t linear_units)
    : attention_norm_(weights, "norm_mha", size, norm_epsilon),
      attention_(weights.select("self_attn."), size, num_heads),
      feed_forward_norm_(weights, "norm_ff", size, norm_epsilon),
      widen_(weights, "feed_forward.w_1", size, linear_units),
      narrow_(weights, "feed_forward.w_2", linear_units, size) {}

at::Tensor ConformerBlock::forward(const at::Tensor& x, const PackedRows& rows) {
  const at::Tensor attended = x + attention_.forward(attention_norm_(x), rows);
  return attended + narrow_(at::silu(widen_(feed_forward_norm_(attended))));
}

} // namespace audiobookd::engine
