// T3: text tokens to speech tokens (the reference's models/t3), on a Llama backbone.
//
// A guided utterance has two rows, conditional first; in the second the text embedding is zero and its position
// embedding stays. The backbone's matrices are fp32 or bf16; embeddings, conditioning and the speech head are fp32.
// Immutable after construction; the KV cache is the caller's.
#pragma once

#include "engine/layers/kv_cache.h"
#include "engine/layers/llama.h"
#include "engine/layers/perceiver.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/voice.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <span>
#include <vector>

namespace audiobookd::engine::chatterbox {

class T3 {
public:
  /// @param weights the root of t3_cfg.safetensors. @param dtype of the backbone's matrices and of the cache.
  T3(const T3Config& config, const StateDict& weights, at::ScalarType dtype = at::kFloat);

  [[nodiscard]] const T3Config& config() const noexcept { return config_; }
  [[nodiscard]] at::Device device() const { return speech_head_.device(); }
  /// A cache for this model.
  [[nodiscard]] KvCache make_cache(int num_pages) const;

  /// Prompt speech tokens as the perceiver reads them: embedding plus position. @return [n, hidden]
  [[nodiscard]] at::Tensor embed_prompt(const at::Tensor& prompt_speech_tokens) const;
  /// The prefix rows: speaker, perceiver queries, emotion. @return [2 + perceiver_queries, hidden]
  [[nodiscard]] at::Tensor condition(const at::Tensor& speaker_emb, const at::Tensor& prompt_speech_tokens,
                                     float exaggeration) const;
  [[nodiscard]] const Perceiver& perceiver() const noexcept { return perceiver_; }

  /// Where the text begins in a prompt: behind the prefix.
  [[nodiscard]] int text_begin() const noexcept { return 2 + config_.perceiver_queries; }
  /// Positions of a prompt for @p num_text_ids ids: prefix, start, text, stop, start-of-speech twice.
  [[nodiscard]] int prompt_length(std::size_t num_text_ids) const;
  /// The prompt's embeddings. @param conditioning from condition(). @param text_ids without start and stop.
  /// @return [guided ? 2 : 1, prompt_length, hidden]
  [[nodiscard]] at::Tensor embed_utterance(const at::Tensor& conditioning, std::span<const std::int32_t> text_ids,
                                           bool guided) const;
  /// Runs a prompt. @param pages for each row. @return speech logits of the last position, [rows, speech_vocab]
  [[nodiscard]] at::Tensor prefill(const at::Tensor& embeddings, const std::vector<std::vector<std::int32_t>>& pages,
                                   KvCache& cache) const;

  /// One decode step. Row counts are restricted as in kernels::row_linear().
  /// @param speech_tokens [rows] int64, the tokens drawn last.
  /// @param speech_positions [rows] int64, their positions among the speech tokens (the i-th drawn, from 0: i + 1).
  /// @return speech logits [rows, speech_vocab]
  [[nodiscard]] at::Tensor decode(const at::Tensor& speech_tokens, const at::Tensor& speech_positions,
                                  const DecodeRows& rows, KvCache& cache) const;

  [[nodiscard]] const Llama& backbone() const noexcept { return backbone_; }
  [[nodiscard]] const at::Tensor& speech_embedding() const noexcept { return speech_emb_; } // [speech_vocab, hidden]
  [[nodiscard]] const at::Tensor& speech_position_embedding() const noexcept { return speech_pos_emb_; }
  [[nodiscard]] const at::Tensor& speech_head() const noexcept { return speech_head_; } // [speech_vocab, hidden]

private:
  T3Config config_;
  at::Tensor text_emb_;                      // [text_vocab, hidden]
  at::Tensor text_pos_emb_;                  // [text_pos_rows, hidden]
  at::Tensor speech_emb_;                    // [speech_vocab, hidden]
  at::Tensor speech_pos_emb_;                // [speech_pos_rows, hidden]
  at::Tensor speech_head_;                   // [speech_vocab, hidden]
  at::Tensor speaker_weight_, speaker_bias_; // [hidden, 256], [hidden]
  at::Tensor emotion_weight_;                // [hidden, 1]
  Perceiver perceiver_;
  Llama backbone_;
};

} // namespace audiobookd::engine::chatterbox
