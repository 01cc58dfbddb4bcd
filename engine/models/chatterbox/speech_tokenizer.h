// S3 speech tokenizer v2 (Du et al. 2024, CosyVoice 2): 16 kHz speech to 25 tokens a second, by attention with FSMN
// memory and finite scalar quantisation into eight ternary digits (Mentzer et al. 2023).
//
// Immutable once built; any thread. One clip at a time. Callers hold an at::InferenceMode guard.
#pragma once

#include "engine/layers/linear.h"
#include "engine/layers/masked_conv1d.h"
#include "engine/layers/probe.h"
#include "engine/models/chatterbox/config.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Pre-norm block: x + attention(norm(x)) + memory, then x + w2(gelu(w1(norm(x)))). The memory is a depthwise
/// convolution over the attention's values (Zhang et al. 2018).
class FsmnBlock {
public:
  /// @param weights the dictionary of one block.
  FsmnBlock(const StateDict& weights, std::int64_t size, std::int64_t num_heads);
  /// @param x [length, size]. @param rotary [2, length, head width / 2], cosines and sines. @return the shape of x
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, const at::Tensor& rotary) const;

private:
  [[nodiscard]] at::Tensor attend(const at::Tensor& x, const at::Tensor& rotary) const;

  std::int64_t num_heads_;
  LayerNorm attention_norm_;
  Linear query_;
  at::Tensor key_weight_; // [size, size]
  Linear value_;
  Linear out_;
  at::Tensor memory_weight_; // [size, 1, 31]
  LayerNorm feed_forward_norm_;
  Linear widen_;
  Linear narrow_;
};

class SpeechTokenizer {
public:
  /// @param weights the dictionary at "tokenizer." of s3gen.safetensors; its two tables are computed when it has none.
  SpeechTokenizer(const VoiceModulesConfig& config, const StateDict& weights);

  /// The log mel of a whole clip. @param samples [n] at 16 kHz, n > 200. @return [mels, n / 160]
  [[nodiscard]] at::Tensor log_mel(const at::Tensor& samples) const;

  /// @param log_mel [mels, frames], at least one frame. @param probe sees "hidden" [tokens, state] and "fsq_pre"
  /// [tokens, 8], the digits before tanh. @return [ceil(frames / 4)] int64, each in [0, 6561)
  [[nodiscard]] at::Tensor tokens(const at::Tensor& log_mel, const Probe& probe = {}) const;

private:
  at::Tensor mel_filters_; // [mels, 201]
  at::Tensor window_;      // [400]
  std::int64_t head_dim_;
  MaskedConv1d conv1_, conv2_; // each halves the rate
  std::vector<FsmnBlock> blocks_;
  Linear project_down_;
};

} // namespace audiobookd::engine::chatterbox
