#include "engine/models/chatterbox/t3.h"

#include "engine/kernels/row_linear.h"

#include <ATen/ATen.h>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::chatterbox {
namespace {

LlamaConfig backbone_config(const T3Config& c) {
  const int prefix = 2 + c.perceiver_queries;
  return {c.hidden_size, c.num_layers,        c.num_heads,
          c.head_dim,    c.intermediate_size, prefix + c.text_pos_rows + c.speech_pos_rows};
}

} // namespace

T3::T3(const T3Config& config, const StateDict& weights, at::ScalarType dtype)
    : config_(config), perceiver_(config.perceiver_queries, config.hidden_size, config.perceiver_heads,
                                  weights.select("cond_enc.perceiver.")),
      backbone_(backbone_config(config), weights.select("tfmr."), dtype) {
  const std::int64_t h = config.hidden_size;
  text_emb_ = weights.get("text_emb.weight", {config.text_vocab_size, h});
  text_pos_emb_ = weights.get("text_pos_emb.emb.weight", {config.text_pos_rows, h});
  speech_emb_ = weights.get("speech_emb.weight", {config.speech_vocab_size, h});
  speech_pos_emb_ = weights.get("speech_pos_emb.emb.weight", {config.speech_pos_rows, h});
  speech_head_ = weights.get("speech_head.weight", {config.speech_vocab_size, h});
  speaker_weight_ = weights.get("cond_enc.spkr_enc.weight", {h, config.speaker_embed_size});
  speaker_bias_ = weights.get("cond_enc.spkr_enc.bias", {h});
  emotion_weight_ = weights.get("cond_enc.emotion_adv_fc.weight", {h, 1});
  weights.ignore("text_head.");         // trains the text side only
  weights.ignore("tfmr.embed_tokens."); // the backbone is fed embeddings
}

KvCache T3::make_cache(int num_pages) const {
  return {config_.num_layers, config_.num_heads, config_.head_dim, num_pages,
          speech_head_.options().dtype(backbone_.dtype())};
}

at::Tensor T3::embed_prompt(const at::Tensor& prompt_speech_tokens) const {
  return speech_emb_.index_select(0, prompt_speech_tokens) + speech_pos_emb_.narrow(0, 0, prompt_speech_tokens.size(0));
}

at::Tensor T3::condition(const at::Tensor& speaker_emb, const at::Tensor& prompt_speech_tokens,
                         float exaggeration) const {
  const at::Tensor speaker = at::linear(speaker_emb.view({1, -1}), speaker_weight_, speaker_bias_);
  const at::Tensor queries = perceiver_.resample(embed_prompt(prompt_speech_tokens));
  const at::Tensor emotion = emotion_weight_.view({1, -1}) * exaggeration;
  return at::cat({speaker, queries, emotion});
}

int T3::prompt_length(std::size_t num_text_ids) const { return text_begin() + static_cast<int>(num_text_ids) + 2 + 2; }

at::Tensor T3::embed_utterance(const at::Tensor& conditioning, std::span<const std::int32_t> text_ids,
                               bool guided) const {
  if (text_ids.size() + 2 > static_cast<std::size_t>(config_.text_pos_rows)) {
    throw std::invalid_argument("text of " + std::to_string(text_ids.size()) + " tokens: the model reads at most " +
                                std::to_string(config_.text_pos_rows - 2));
  }
  std::vector<std::int64_t> ids{config_.start_text_token};
  ids.insert(ids.end(), text_ids.begin(), text_ids.end());
  ids.push_back(config_.stop_text_token);
  const at::Tensor text_positions = text_pos_emb_.narrow(0, 0, static_cast<std::int64_t>(ids.size()));
  const at::Tensor text =
      text_emb_.index_select(0, at::tensor(ids, at::kLong).to(device(), /*non_blocking=*/true)) + text_positions;
  const at::Tensor start = (speech_emb_[config_.start_speech_token] + speech_pos_emb_[0]).unsqueeze(0);
  // The reference feeds start-of-speech at position 0 twice.
  const at::Tensor conditional = at::cat({conditioning, text, start, start});
  if (!guided) {
    return conditional.unsqueeze(0);
  }
  return at::stack({conditional, at::cat({conditioning, text_positions, start, start})});
}

at::Tensor T3::prefill(const at::Tensor& embeddings, const std::vector<std::vector<std::int32_t>>& pages,
                       KvCache& cache) const {
  return at::linear(backbone_.prefill(embeddings, pages, cache), speech_head_);
}

at::Tensor T3::decode(const at::Tensor& speech_tokens, const at::Tensor& speech_positions, const DecodeRows& rows,
                      KvCache& cache) const {
  const at::Tensor embeddings =
      speech_emb_.index_select(0, speech_tokens) + speech_pos_emb_.index_select(0, speech_positions);
  return kernels::row_linear(backbone_.decode(embeddings, rows, cache), speech_head_);
}

} // namespace audiobookd::engine::chatterbox
