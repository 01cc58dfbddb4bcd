#include "engine/layers/llama.h"

#include "engine/kernels/attended_position.h"
#include "engine/kernels/decode_attention.h"
#include "engine/kernels/row_linear.h"
#include "engine/kernels/rowwise.h"

#include <ATen/ATen.h>
#include <cmath>
#include <numbers>
#include <string>

namespace audiobookd::engine {
namespace {

constexpr double rope_base = 500000;
constexpr double rope_factor = 8;
constexpr double rope_low = 1;
constexpr double rope_high = 4;
constexpr double rope_original_length = 8192;

/// [rows, positions, 3, heads, dim] rotated as in Llama: pairs are (i, i + dim / 2).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& table) {
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor cos = table.narrow(-1, 0, half).unsqueeze(1); // [positions, 1, half]
  const at::Tensor sin = table.narrow(-1, half, half).unsqueeze(1);
  const at::Tensor a = x.narrow(-1, 0, half);
  const at::Tensor b = x.narrow(-1, half, half);
  return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
}

/// Looks at the watched heads of @p layer. @param qkv with queries rotated
void observe(const TextWatch& watch, int layer, const at::Tensor& qkv, const kernels::PagedRows& rows) {
  for (std::size_t i = 0; i < watch.heads.size(); ++i) {
    if (watch.heads[i].layer == layer) {
      watch.attended.select(1, static_cast<std::int64_t>(i))
          .copy_(kernels::attended_position(qkv, rows, watch.heads[i].head, {watch.begin, watch.lengths}));
    }
  }
}

} // namespace

at::Tensor llama3_rope_table(int max_positions, int head_dim) {
  std::vector<float> frequencies;
  for (int i = 0; i < head_dim; i += 2) {
    double frequency = 1.0 / std::pow(rope_base, static_cast<double>(i) / head_dim);
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength > rope_original_length / rope_low) {
      frequency /= rope_factor;
    } else if (wavelength > rope_original_length / rope_high) {
      const double smooth = (rope_original_length / wavelength - rope_low) / (rope_high - rope_low);
      frequency = (1 - smooth) * frequency / rope_factor + smooth * frequency;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  const at::Tensor angles = at::arange(max_positions, at::kFloat).unsqueeze(1) * at::tensor(frequencies).unsqueeze(0);
  return at::cat({angles.cos(), angles.sin()}, 1).contiguous();
}

Llama::Llama(const LlamaConfig& config, const StateDict& weights, at::ScalarType dtype)
    : config_(config), dtype_(dtype) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = static_cast<std::int64_t>(config.num_heads) * config.head_dim;
  const std::int64_t ffn = config.intermediate_size;
  for (int i = 0; i < config.num_layers; ++i) {
    const StateDict w = weights.select("layers." + std::to_string(i) + ".");
    const StateDict attention = w.select("self_attn.");
    const StateDict mlp = w.select("mlp.");
    const auto q = attention.get("q_proj.weight", {inner, hidden}).to(dtype);
    const auto k = attention.get("k_proj.weight", {inner, hidden}).to(dtype);
    const auto v = attention.get("v_proj.weight", {inner, hidden}).to(dtype);
    const auto gate = mlp.get("gate_proj.weight", {ffn, hidden}).to(dtype);
    const auto up = mlp.get("up_proj.weight", {ffn, hidden}).to(dtype);
    layers_.push_back({w.get("input_layernorm.weight", {hidden}), at::cat({q, k, v}),
                       attention.get("o_proj.weight", {hidden, inner}).to(dtype),
                       w.get("post_attention_layernorm.weight", {hidden}), at::cat({gate, up}),
                       mlp.get("down_proj.weight", {hidden, ffn}).to(dtype)});
  }
  norm_ = weights.get("norm.weight", {hidden});
  rope_table_ = llama3_rope_table(config.max_positions, config.head_dim).to(norm_.device());
}

at::Tensor Llama::prefill(const at::Tensor& embeddings, const std::vector<std::vector<std::int32_t>>& pages,
                          KvCache& cache) const {
  const std::int64_t rows = embeddings.size(0);
  const std::int64_t positions = embeddings.size(1);
  const at::Tensor table = rope_table_.narrow(0, 0, positions);
  at::Tensor hidden = embeddings.contiguous();
  for (int i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = layers_[i];
    const at::Tensor qkv = kernels::prompt_linear(kernels::rms_norm(hidden, layer.input_norm, rms_eps), layer.qkv)
                               .view({rows, positions, 3, config_.num_heads, config_.head_dim});
    const at::Tensor q = rotate(qkv.select(2, 0), table).transpose(1, 2); // [rows, heads, positions, dim]
    const at::Tensor k = rotate(qkv.select(2, 1), table).transpose(1, 2);
    const at::Tensor v = qkv.select(2, 2).transpose(1, 2);
    for (std::int64_t row = 0; row < rows; ++row) {
      cache.write_prompt(i, pages[row], k[row], v[row]);
    }
    const at::Tensor attended = at::scaled_dot_product_attention(q, k, v, {}, 0.0, /*is_causal=*/true)
                                    .transpose(1, 2)
                                    .reshape({rows, positions, -1});
    hidden = hidden + kernels::prompt_linear(attended, layer.output);
    const at::Tensor normed = kernels::rms_norm(hidden, layer.post_norm, rms_eps);
    hidden =
        hidden + kernels::prompt_linear(kernels::silu_mul(kernels::prompt_linear(normed, layer.gate_up)), layer.down);
  }
  return kernels::rms_norm(hidden.select(1, positions - 1).contiguous(), norm_, rms_eps);
}

at::Tensor Llama::decode(const at::Tensor& embeddings, const DecodeRows& rows, KvCache& cache) const {
  at::Tensor hidden = embeddings;
  for (int i = 0; i < config_.num_layers; ++i) {
    const Layer& layer = layers_[i];
    at::Tensor qkv = kernels::row_linear(kernels::rms_norm(hidden, layer.input_norm, rms_eps), layer.qkv);
    kernels::PagedRows paged{cache.keys(i), cache.values(i), rows.block_table, rows.positions};
    kernels::rope_append(qkv, rope_table_, paged);
    observe(rows.watch, i, qkv, paged);
    hidden = hidden + kernels::row_linear(kernels::decode_attention(qkv, paged), layer.output);
    const at::Tensor normed = kernels::rms_norm(hidden, layer.post_norm, rms_eps);
    hidden = hidden + kernels::row_linear(kernels::silu_mul(kernels::row_linear(normed, layer.gate_up)), layer.down);
  }
  return kernels::rms_norm(hidden, norm_, rms_eps);
}

} // namespace audiobookd::engine
