// Kernels of the batched CUDA decoder: bf16 weights and cache, fp32 residual stream, norms, logits and guidance.
//
// Every function launches on the current stream and returns at once. A row's result depends on that row alone: all
// sums have a fixed order. Tests compare each with ATen in fp32.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::cuda {

/// residual += delta (unless delta is undefined); returns rms_norm(residual) * weight in bf16.
/// @param residual [rows, n] fp32, changed in place. @param delta [rows, n] bf16. @param weight [n] fp32.
at::Tensor add_rms_norm(at::Tensor& residual, const at::Tensor& delta, const at::Tensor& weight, double eps);

/// SwiGLU: silu(gate) * up, computed in fp32. @param gate_up [rows, 2 n] bf16, gate first. @return [rows, n] bf16
at::Tensor silu_mul(const at::Tensor& gate_up);

/// Where rows keep their keys and values: bf16 pages [num_pages, num_heads, page_size, head_dim] of one layer.
struct Pages {
  at::Tensor keys;
  at::Tensor values;
  at::Tensor block_table; // [sequences, max_pages] int32
};

/// Rotates queries and keys of @p qkv in place and writes keys and values to the cache.
/// @param qkv [rows, 3 * heads * dim] bf16. @param cos_sin [max_positions, dim] fp32.
/// @param positions [rows] int32. @param sequences [rows] int32: the row of block_table that holds the pages.
void rope_append(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions, const at::Tensor& sequences,
                 Pages& pages);

/// Attention of one new position a row over its cached positions 0..position.
/// @param qkv as left by rope_append(); row r reads the pages of sequence r. Head sizes 16, 32, 64 and 128.
/// @return [rows, heads * dim] bf16
at::Tensor decode_attention(const at::Tensor& qkv, const at::Tensor& positions, const Pages& pages);

/// What the sampler knows of each place of the batch; all tensors on the GPU. Row 2p of the batch is place p's
/// conditional row, row 2p + 1 its unconditional one.
struct PlaceState {
  at::Tensor active;           // [places] int32: 1 while tokens are drawn
  at::Tensor drawn;            // [places] int32: tokens drawn so far
  at::Tensor max_tokens;       // [places] int32
  at::Tensor flags;            // [places] int32: greedy 1, forced length 2
  at::Tensor params;           // [places, 5] fp32: cfg_weight, repetition_penalty, temperature, min_p, top_p
  at::Tensor key;              // [places, 3] int32: RandomStream
  at::Tensor seen;             // [places, ceil(vocab / 32)] int32 bit mask of the tokens so far, start token included
  at::Tensor history;          // [places, max_history] int32: the tokens
  at::Tensor tokens;           // [2 * places] int64: input of the next step, by row
  at::Tensor speech_positions; // [2 * places] int64: its speech position
  at::Tensor positions;        // [2 * places] int32: its position in the cache
};

/// Special tokens of the model.
struct SpeechVocabulary {
  int size = 0;
  int start = 0; ///< tokens from here on are not speech: a forced length never draws them
  int stop = 0;
};

/// Draws the next token of every active place: guidance, repetition penalty, temperature, min-p, top-p as in
/// process_logits(), then Gumbel-max by Philox (exact: the maximum of logit + Gumbel noise over the kept tokens is a
/// draw from their softmax). Appends the token to the history and prepares the next step's inputs, or clears `active`
/// at a stop token or the last token of the length.
/// @param logits [rows, vocab] fp32. @param places [n] int32. @param cond_rows, uncond_rows [n] int32: rows of logits.
void sample(const at::Tensor& logits, const at::Tensor& places, const at::Tensor& cond_rows,
            const at::Tensor& uncond_rows, PlaceState& state, const SpeechVocabulary& vocabulary);

} // namespace audiobookd::engine::cuda
