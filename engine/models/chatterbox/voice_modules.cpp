// From a clip to a voice.
#include "engine/models/chatterbox/voice_modules.h"

#include "engine/models/chatterbox/clip_features.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <stdexcept>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr std::int64_t t3_prompt_samples = 6 * features_sample_rate;
constexpr std::int64_t s3gen_prompt_samples = 10 * prompt_sample_rate;

at::Tensor first(const at::Tensor& samples, std::int64_t count) {
  return samples.narrow(0, 0, std::min(samples.size(0), count));
}

} // namespace

VoiceModules::VoiceModules(const VoiceModulesConfig& config, const StateDict& s3gen, const StateDict& voice_encoder)
    : speech_tokenizer_(config, s3gen.select("tokenizer.")), speaker_encoder_(config, s3gen.select("speaker_encoder.")),
      voice_encoder_(config, voice_encoder) {}

at::Tensor VoiceModules::speaker(const at::Tensor& samples_16khz) const {
  const SampleRange range = without_silent_ends(samples_16khz);
  at::Tensor embedding = voice_encoder_.embed(samples_16khz.slice(0, range.first, range.end));
  if (!at::isfinite(embedding).all().item<bool>()) { // no unit of the projection was above zero
    throw std::invalid_argument("the voice encoder hears no speaker in the clip");
  }
  return embedding;
}

ClipConditionals VoiceModules::prepare(const at::Tensor& samples_24khz, const at::Tensor& samples_16khz) const {
  ClipConditionals found;
  found.speaker_emb = speaker(samples_16khz);
  found.prompt_speech_tokens =
      speech_tokenizer_.tokens(speech_tokenizer_.log_mel(first(samples_16khz, t3_prompt_samples)));
  const at::Tensor prompt = first(samples_24khz, s3gen_prompt_samples);
  const at::Tensor prompt_16khz = windowed_sinc_to_16khz(prompt);
  found.prompt_feat = prompt_mel(prompt);
  found.embedding = speaker_encoder_.embed(prompt_16khz);
  const at::Tensor tokens = speech_tokenizer_.tokens(speech_tokenizer_.log_mel(prompt_16khz));
  found.prompt_token = first(tokens, found.prompt_feat.size(0) / 2);
  return found;
}

} // namespace audiobookd::engine::chatterbox
