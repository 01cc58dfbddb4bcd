// Making the values of a voice. Any thread.
#include "engine/models/chatterbox/synthetic_voice.h"

#include "engine/models/chatterbox/conds_file.h"
#include "engine/models/chatterbox/synthetic_weights.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr int prompt_tokens = 250; // 10 s at 25 Hz
constexpr int frames_per_token = 2;

std::vector<float> uniform(const char* name, int count, WeightRange range) {
  std::vector<float> values(static_cast<std::size_t>(count));
  fill_uniform(name, range, values);
  return values;
}

/// Speech tokens below @p vocabulary.
std::vector<std::int32_t> tokens(const char* name, int count, int vocabulary) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<std::int32_t>(weight_uniform(weight_seed(name), i) * vocabulary);
  }
  return values;
}

/// Not negative and of length 1, as the voice encoder gives it.
std::vector<float> speaker_embedding(const char* name, int size) {
  const std::vector<float> values = uniform(name, size, {0.0, 1.0});
  at::Tensor unit = at::tensor(values).clamp_min(0);
  unit /= unit.norm();
  return {unit.data_ptr<float>(), unit.data_ptr<float>() + unit.numel()};
}

} // namespace

std::vector<char> make_synthetic_voice(const Config& config) {
  return conds_archive({.speaker_embedding = speaker_embedding("conds.t3.speaker_emb", config.t3.speaker_embed_size),
                        .t3_prompt_tokens = tokens("conds.t3.cond_prompt_speech_tokens",
                                                   config.t3.speech_cond_prompt_len, config.flow.speech_vocab_size),
                        .exaggeration = 0.5F,
                        .prompt_tokens = tokens("conds.gen.prompt_token", prompt_tokens, config.flow.speech_vocab_size),
                        .prompt_mel = uniform("conds.gen.prompt_feat",
                                              frames_per_token * prompt_tokens * config.flow.mel_channels, {-5.0, 2.5}),
                        .xvector = uniform("conds.gen.embedding", config.flow.speaker_embed_dim, {0.0, 1.5})});
}

} // namespace audiobookd::engine::chatterbox
