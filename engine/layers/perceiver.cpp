#include "engine/layers/perceiver.h"

#include <ATen/ATen.h>

namespace audiobookd::engine {

Perceiver::Perceiver(int num_queries, int hidden_size, int num_heads, const StateDict& weights)
    : num_heads_(num_heads) {
  const std::int64_t h = hidden_size;
  queries_ = weights.get("pre_attention_query", {1, num_queries, h}).squeeze(0);
  const StateDict attn = weights.select("attn.");
  norm_weight_ = attn.get("norm.weight", {h});
  norm_bias_ = attn.get("norm.bias", {h});
  const auto linear = [&](const char* name, at::Tensor& weight, at::Tensor& bias) {
    weight = attn.get(std::string(name) + ".weight", {h, h});
    bias = attn.get(std::string(name) + ".bias", {h});
  };
  linear("to_q", q_weight_, q_bias_);
  linear("to_k", k_weight_, k_bias_);
  linear("to_v", v_weight_, v_bias_);
  linear("proj_out", out_weight_, out_bias_);
}

at::Tensor Perceiver::attend(const at::Tensor& query, const at::Tensor& context) const {
  const std::int64_t hidden = query.size(1);
  const auto norm = [&](const at::Tensor& x) { return at::layer_norm(x, {hidden}, norm_weight_, norm_bias_, 1e-5); };
  const auto heads = [&](const at::Tensor& x) { // [1, heads, n, dim]
    return x.view({1, x.size(0), num_heads_, hidden / num_heads_}).transpose(1, 2);
  };
  const at::Tensor normed_context = norm(context);
  const at::Tensor q = heads(at::linear(norm(query), q_weight_, q_bias_));
  const at::Tensor k = heads(at::linear(normed_context, k_weight_, k_bias_));
  const at::Tensor v = heads(at::linear(normed_context, v_weight_, v_bias_));
  const at::Tensor attended = at::scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape({-1, hidden});
  return query + at::linear(attended, out_weight_, out_bias_);
}

at::Tensor Perceiver::cross(const at::Tensor& sequence) const { return attend(queries_, sequence); }

at::Tensor Perceiver::resample(const at::Tensor& sequence) const {
  const at::Tensor read = cross(sequence);
  return attend(read, read);
}

} // namespace audiobookd::engine
