#include "engine/cuda/cuda_t3.h"

#include <ATen/ATen.h>
#include <algorithm>

namespace audiobookd::engine::cuda {
namespace {

constexpr std::int64_t most_rows = 1 << 14;

at::Tensor half_transposed(const at::Tensor& weight) { return weight.to(at::kBFloat16).t(); }

/// x w with the rows of x cut into tiles of fixed size.
at::Tensor tiled_mm(const at::Tensor& x, const at::Tensor& weight) {
  at::Tensor out = at::empty({x.size(0), weight.size(1)}, x.options());
  for (std::int64_t row = 0; row < x.size(0); row += CudaT3::tile_rows) {
    at::Tensor tile = out.narrow(0, row, CudaT3::tile_rows);
    at::mm_out(tile, x.narrow(0, row, CudaT3::tile_rows), weight);
  }
  return out;
}

/// How packed prompts lie in the rows of their tiles. Padding rows go to the cache's scratch page.
struct Packing {
  std::int64_t used = 0; // rows of prompts
  std::int64_t rows = 0; // padded to whole tiles
  std::int64_t longest = 0;
  at::Tensor positions; // [rows] int32
  at::Tensor sequences; // [rows] int32; padding: one past the prompts
  at::Tensor starts;    // [prompts + 1] int32, cumulative lengths
  at::Tensor last_rows; // [max_prompts] int64; repeated past the prompts
};

Packing pack(const std::vector<at::Tensor>& prompts, at::Device device) {
  std::vector<int> starts{0};
  std::vector<int> positions;
  std::vector<int> sequences;
  std::vector<std::int64_t> last_rows;
  Packing packing;
  for (const at::Tensor& prompt : prompts) {
    for (int position = 0; position < prompt.size(0); ++position) {
      positions.push_back(position);
      sequences.push_back(static_cast<int>(last_rows.size()));
    }
    starts.push_back(static_cast<int>(positions.size()));
    last_rows.push_back(starts.back() - 1);
    packing.longest = std::max(packing.longest, prompt.size(0));
  }
  packing.used = static_cast<std::int64_t>(positions.size());
  packing.rows = (packing.used + CudaT3::tile_rows - 1) / CudaT3::tile_rows * CudaT3::tile_rows;
  positions.resize(static_cast<std::size_t>(packing.rows), 0);
  sequences.resize(static_cast<std::size_t>(packing.rows), static_cast<int>(prompts.size()));
  last_rows.resize(CudaT3::max_prompts, last_rows.back());
  packing.positions = at::tensor(positions, at::kInt).to(device, /*non_blocking=*/true);
  packing.sequences = at::tensor(sequences, at::kInt).to(device, /*non_blocking=*/true);
  packing.starts = at::tensor(starts, at::kInt).to(device, /*non_blocking=*/true);
  packing.last_rows = at::tensor(last_rows, at::kLong).to(device, /*non_blocking=*/true);
  return packing;
}

} // namespace

CudaT3::CudaT3(const chatterbox::T3& model) : model_(model) {
  for (const Llama::Layer& layer : model.backbone().layers()) {
    layers_.push_back({layer.input_norm, layer.post_norm, half_transposed(layer.qkv), half_transposed(layer.output),
                       half_transposed(layer.gate_up), half_transposed(layer.down)});
  }
  speech_head_ = half_transposed(model.speech_head());
  every_row_ = at::arange(most_rows, at::TensorOptions(at::kInt).device(model.device()));
}

KvCache CudaT3::make_cache(int num_pages) const {
  const LlamaConfig& c = model_.backbone().config();
  return {c.num_layers, c.num_heads, c.head_dim, num_pages, speech_head_.options()};
}

at::Tensor CudaT3::head(const at::Tensor& normed) const { return at::mm(normed, speech_head_, at::kFloat); }

at::Tensor CudaT3::decode(const at::Tensor& tokens, const at::Tensor& speech_positions, const at::Tensor& positions,
                          const at::Tensor& block_table, KvCache& cache) const {
  at::Tensor residual = model_.speech_embedding().index_select(0, tokens) +
                        model_.speech_position_embedding().index_select(0, speech_positions);
  const at::Tensor rows = every_row_.narrow(0, 0, tokens.size(0));
  at::Tensor delta;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    at::Tensor qkv = at::mm(add_rms_norm(residual, delta, layer.input_norm, Llama::rms_eps), layer.qkv);
    Pages pages{cache.keys(static_cast<int>(i)), cache.values(static_cast<int>(i)), block_table};
    rope_append(qkv, model_.backbone().rope_table(), positions, rows, pages);
    delta = at::mm(decode_attention(qkv, positions, pages), layer.output);
    const at::Tensor gate_up = at::mm(add_rms_norm(residual, delta, layer.post_norm, Llama::rms_eps), layer.gate_up);
    delta = at::mm(silu_mul(gate_up), layer.down);
  }
  return head(add_rms_norm(residual, delta, model_.backbone().norm(), Llama::rms_eps));
}

at::Tensor CudaT3::prefill(const std::vector<at::Tensor>& prompts, const at::Tensor& block_table,
                           KvCache& cache) const {
  const LlamaConfig& c = model_.backbone().config();
  const Packing packing = pack(prompts, model_.device());
  at::Tensor residual = at::cat(prompts);
  residual = at::constant_pad_nd(residual, {0, 0, 0, packing.rows - packing.used}, 0);
  // One more sequence for the padding rows, all on the scratch page.
  const at::Tensor table = at::constant_pad_nd(block_table, {0, 0, 0, 1}, KvCache::scratch_page);
  at::Tensor delta;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    at::Tensor qkv = tiled_mm(add_rms_norm(residual, delta, layer.input_norm, Llama::rms_eps), layer.qkv);
    Pages pages{cache.keys(static_cast<int>(i)), cache.values(static_cast<int>(i)), table};
    rope_append(qkv, model_.backbone().rope_table(), packing.positions, packing.sequences, pages);
    const at::Tensor heads = qkv.view({packing.rows, 3, c.num_heads, c.head_dim}).narrow(0, 0, packing.used);
    at::Tensor attended = at::zeros({packing.rows, static_cast<std::int64_t>(c.num_heads) * c.head_dim}, qkv.options());
    attended.narrow(0, 0, packing.used)
        .copy_(std::get<0>(at::_flash_attention_forward(heads.select(1, 0), heads.select(1, 1), heads.select(1, 2),
                                                        packing.starts, packing.starts, packing.longest,
                                                        packing.longest, 0.0,
                                                        /*is_causal=*/true, /*return_debug_mask=*/false))
                   .reshape({packing.used, -1}));
    delta = tiled_mm(attended, layer.output);
    const at::Tensor gate_up = tiled_mm(add_rms_norm(residual, delta, layer.post_norm, Llama::rms_eps), layer.gate_up);
    delta = tiled_mm(silu_mul(gate_up), layer.down);
  }
  const at::Tensor normed = add_rms_norm(residual, delta, model_.backbone().norm(), Llama::rms_eps);
  return head(normed.index_select(0, packing.last_rows));
}

} // namespace audiobookd::engine::cuda
