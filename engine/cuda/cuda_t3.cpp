#include "engine/cuda/cuda_t3.h"

#include "engine/cuda/attended_text.h"

#include <ATen/ATen.h>
#include <algorithm>

namespace audiobookd::engine::cuda {
namespace {

constexpr std::int64_t smallest_bucket = 16;
constexpr std::int64_t bucket_step = 128;

constexpr std::int64_t head_step = 64; // columns of logits are computed in multiples: rows then start aligned

at::Tensor half(const at::Tensor& weight) { return weight.to(at::kBFloat16).contiguous(); }

std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

at::Tensor padded_head(const at::Tensor& weight) {
  return at::constant_pad_nd(half(weight), {0, 0, 0, round_up(weight.size(0), head_step) - weight.size(0)}, 0);
}

at::Tensor upload(const std::vector<int>& values, at::Device device) {
  return at::tensor(values, at::kInt).to(device, /*non_blocking=*/true);
}

/// How prompts lie in the rows of one product, and the cached positions that they attend to.
struct Packing {
  std::int64_t used = 0;           // rows of prompts
  std::int64_t rows = 0;           // of the product
  std::int64_t longest_run = 0;    // rows of one prompt
  std::int64_t longest_prompt = 0; // positions of one prompt
  at::Tensor positions;            // [rows] int32; padding: parked
  at::Tensor sequences;            // [rows] int32
  at::Tensor starts;               // [prompts + 1] int32: cumulative rows
  at::Tensor read_positions;       // [positions of all prompts] int32
  at::Tensor read_sequences;       // same
  at::Tensor read_starts;          // [prompts + 1] int32: cumulative positions
  at::Tensor last_rows;            // [bucket(prompts)] int32; repeated past the prompts
};

Packing pack(const std::vector<Prompt>& prompts, at::Device device) {
  Packing packing;
  std::vector<int> positions, sequences, starts{0}, read_positions, read_sequences, read_starts{0}, last_rows;
  for (const Prompt& prompt : prompts) {
    const int sequence = static_cast<int>(last_rows.size());
    const int length = prompt.first + static_cast<int>(prompt.embeddings.size(0));
    for (int position = 0; position < length; ++position) {
      read_positions.push_back(position);
      read_sequences.push_back(sequence);
      if (position >= prompt.first) {
        positions.push_back(position);
        sequences.push_back(sequence);
      }
    }
    starts.push_back(static_cast<int>(positions.size()));
    read_starts.push_back(static_cast<int>(read_positions.size()));
    last_rows.push_back(starts.back() - 1);
    packing.longest_run = std::max(packing.longest_run, prompt.embeddings.size(0));
    packing.longest_prompt = std::max<std::int64_t>(packing.longest_prompt, length);
  }
  packing.used = static_cast<std::int64_t>(positions.size());
  packing.rows = CudaT3::bucket(packing.used);
  positions.resize(static_cast<std::size_t>(packing.rows), -1);
  sequences.resize(static_cast<std::size_t>(packing.rows), 0);
  last_rows.resize(static_cast<std::size_t>(CudaT3::bucket(static_cast<std::int64_t>(prompts.size()))),
                   last_rows.back());
  packing.positions = upload(positions, device);
  packing.sequences = upload(sequences, device);
  packing.starts = upload(starts, device);
  packing.read_positions = upload(read_positions, device);
  packing.read_sequences = upload(read_sequences, device);
  packing.read_starts = upload(read_starts, device);
  packing.last_rows = upload(last_rows, device);
  return packing;
}

/// Causal attention of the packed rows over what their sequences have in the cache.
/// @param qkv [rows, 3 * heads * dim]. @return [rows, heads * dim]; zeros for padding
at::Tensor attend(const Packing& packing, const at::Tensor& qkv, const Pages& pages) {
  const std::int64_t heads = pages.keys.size(1);
  const std::int64_t dim = pages.keys.size(3);
  const FlatKeysValues read = gather_pages(pages, packing.read_positions, packing.read_sequences);
  const at::Tensor queries = qkv.view({packing.rows, 3, heads, dim}).select(1, 0).narrow(0, 0, packing.used);
  const at::Tensor attended = std::get<0>(at::_flash_attention_forward(
      queries, read.keys, read.values, packing.starts, packing.read_starts, packing.longest_run, packing.longest_prompt,
      0.0, /*is_causal=*/true, /*return_debug_mask=*/false));
  return at::constant_pad_nd(attended.reshape({packing.used, heads * dim}), {0, 0, 0, packing.rows - packing.used}, 0);
}

} // namespace

std::int64_t CudaT3::bucket(std::int64_t rows) {
  std::int64_t bucket = smallest_bucket;
  while (bucket < rows && bucket < bucket_step) {
    bucket *= 2;
  }
  return rows <= bucket ? bucket : round_up(rows, bucket_step);
}

std::vector<std::int64_t> CudaT3::buckets(std::int64_t rows) {
  std::vector<std::int64_t> all{bucket(1)};
  while (all.back() < rows) {
    all.push_back(bucket(all.back() + 1));
  }
  return all;
}

CudaT3::CudaT3(const chatterbox::T3& model, bool invariant) : CudaT3(model, model.backbone().config(), invariant) {}

CudaT3::CudaT3(const chatterbox::T3& model, const LlamaConfig& c, bool invariant)
    : model_(model), speech_head_(padded_head(model.speech_head())),
      qkv_({.out = 3 * c.num_heads * c.head_dim, .in = c.hidden_size, .invariant = invariant}, model.device()),
      output_({.out = c.hidden_size,
               .in = c.num_heads * c.head_dim,
               .result = at::kFloat,
               .accumulate = true,
               .invariant = invariant},
              model.device()),
      gate_up_({.out = 2 * c.intermediate_size, .in = c.hidden_size, .invariant = invariant}, model.device()),
      down_({.out = c.hidden_size,
             .in = c.intermediate_size,
             .result = at::kFloat,
             .accumulate = true,
             .invariant = invariant},
            model.device()),
      head_({.out = speech_head_.size(0), .in = c.hidden_size, .result = at::kFloat, .invariant = invariant},
            model.device()) {
  for (const Llama::Layer& layer : model.backbone().layers()) {
    layers_.push_back({layer.input_norm, layer.post_norm, half(layer.qkv), half(layer.output), half(layer.gate_up),
                       half(layer.down)});
  }
}

KvCache CudaT3::make_cache(int num_pages, at::ScalarType dtype) const {
  const LlamaConfig& c = model_.backbone().config();
  return {c.num_layers, c.num_heads, c.head_dim, num_pages, speech_head_.options().dtype(dtype)};
}

Pages CudaT3::pages_of(const KvCache& cache, std::size_t layer, const at::Tensor& block_table,
                       const at::Tensor& shared) {
  const auto i = static_cast<int>(layer);
  return {cache.keys(i), cache.values(i), block_table, shared, cache.exponents(i)};
}

void CudaT3::prepare(std::int64_t rows) {
  for (Gemm* gemm : {&qkv_, &output_, &gate_up_, &down_, &head_}) {
    gemm->prepare(buckets(rows));
  }
}

at::Tensor CudaT3::logits(const at::Tensor& normed) {
  return head_.run(normed, speech_head_).narrow(1, 0, model_.config().speech_vocab_size);
}

void CudaT3::finish_layer(const Layer& layer, const at::Tensor& attended, at::Tensor& residual) {
  output_.run(attended, layer.output, residual);
  const at::Tensor gate_up = gate_up_.run(rms_norm(residual, layer.post_norm, Llama::rms_eps), layer.gate_up);
  down_.run(silu_mul(gate_up), layer.down, residual);
}

at::Tensor CudaT3::decode(const at::Tensor& rows, const Sequences& sequences, KvCache& cache) {
  StepRows step = embed_step(model_.speech_embedding(), model_.speech_position_embedding(), rows, sequences.tokens,
                             sequences.speech_positions, sequences.positions);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const at::Tensor qkv = qkv_.run(rms_norm(step.residual, layer.input_norm, Llama::rms_eps), layer.qkv);
    Pages pages = pages_of(cache, i, sequences.block_table, sequences.shared);
    const at::Tensor& rope = model_.backbone().rope_table();
    finish_layer(layer, decode_attention(qkv, rope, step.positions, rows, pages), step.residual);
    for (std::size_t slot = 0; slot < sequences.watch.heads.size(); ++slot) {
      if (sequences.watch.heads[slot].layer == static_cast<int>(i)) {
        attended_text(qkv, rope, step.positions, rows, pages, sequences.watch, slot);
      }
    }
  }
  return logits(rms_norm(step.residual, model_.backbone().norm(), Llama::rms_eps));
}

at::Tensor CudaT3::prefill(const std::vector<Prompt>& prompts, const at::Tensor& block_table, const at::Tensor& shared,
                           KvCache& cache) {
  const Packing packing = pack(prompts, model_.device());
  std::vector<at::Tensor> rows;
  for (const Prompt& prompt : prompts) {
    rows.push_back(prompt.embeddings);
  }
  at::Tensor residual = at::constant_pad_nd(at::cat(rows), {0, 0, 0, packing.rows - packing.used}, 0);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    at::Tensor qkv = qkv_.run(rms_norm(residual, layer.input_norm, Llama::rms_eps), layer.qkv);
    Pages pages = pages_of(cache, i, block_table, shared);
    rope_append(qkv, model_.backbone().rope_table(), packing.positions, packing.sequences, pages);
    finish_layer(layer, attend(packing, qkv, pages), residual);
  }
  const at::Tensor normed = rms_norm(residual, model_.backbone().norm(), Llama::rms_eps);
  return logits(normed.index_select(0, packing.last_rows));
}

} // namespace audiobookd::engine::cuda
