// The sampler of the batched CUDA decoder: one launch draws the next token of every place and prepares the next step.
//
// Launches on the current stream and returns at once. A place's token depends on its own logits, parameters and random
// stream alone. The oracle of the probabilities is process_logits() of engine/sampler.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::cuda {

/// What the sampler knows of each place of the batch; all tensors on the GPU. Row 2p of the batch is place p's
/// conditional row, row 2p + 1 its unconditional one.
struct PlaceState {
  at::Tensor active;           // [places] int32: 1 while tokens are drawn
  at::Tensor drawn;            // [places] int32: tokens drawn so far
  at::Tensor max_tokens;       // [places] int32
  at::Tensor flags;            // [places] int32: greedy 1, forced length 2
  at::Tensor params;           // [places, 5] fp32: cfg_weight, repetition_penalty, temperature, min_p, top_p
  at::Tensor top_k;            // [places] int32; 0: off
  at::Tensor key;              // [places, 3] int32: RandomStream
  at::Tensor seen;             // [places, ceil(vocab / 32)] int32 bit mask of the tokens so far, start token included
  at::Tensor history;          // [places, max_history] int32: the tokens
  at::Tensor attended;         // [2 * places, heads] int32: see TextWatch; undefined: nothing is watched
  at::Tensor attended_history; // [places, max_history, heads] int16: what the steps that drew the tokens attended to
  at::Tensor tokens;           // [2 * places] int64: input of the next step, by row
  at::Tensor speech_positions; // [2 * places] int64: its speech position
  at::Tensor positions;        // [2 * places] int32: its position in the cache; negative: parked, nothing to compute
};

/// Special tokens of the model.
struct SpeechVocabulary {
  int size = 0;
  int start = 0; ///< tokens from here on are not speech: a forced length never draws them
  int stop = 0;
};

/// Draws the next token of every active place: guidance, repetition penalty, temperature, min-p, top-k, top-p as in
/// process_logits(), then Gumbel-max by Philox (exact: the maximum of logit + Gumbel noise over the kept tokens is a
/// draw from their softmax). Appends the token, and what its step attended to, to the histories and prepares the next
/// step's inputs, or clears `active` and parks the rows at a stop token or the last token of the length.
/// @param logits [rows, vocab] fp32; rows begin every multiple of 4 floats and are padded to one. @param places [n]
/// int32. @param cond_rows, uncond_rows [n] int32: rows of logits.
void sample(const at::Tensor& logits, const at::Tensor& places, const at::Tensor& cond_rows,
            const at::Tensor& uncond_rows, PlaceState& state, const SpeechVocabulary& vocabulary);

} // namespace audiobookd::engine::cuda
