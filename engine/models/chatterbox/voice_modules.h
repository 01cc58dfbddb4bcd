// The models that turn a clip into a voice, and how they work together (the reference's prepare_conditionals).
//
// Immutable once built; any thread. Callers hold an at::InferenceMode guard.
#pragma once

#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/speaker_encoder.h"
#include "engine/models/chatterbox/speech_tokenizer.h"
#include "engine/models/chatterbox/voice_encoder.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::chatterbox {

/// Named as in the reference's conds.pt, without its leading dimensions of 1.
struct ClipConditionals {
  at::Tensor speaker_emb;          // [256] voice encoder, whole clip
  at::Tensor prompt_speech_tokens; // [n] int64, at most 150: the first 6 s
  at::Tensor prompt_token;         // [m] int64, at most 250: the first 10 s
  at::Tensor prompt_feat;          // [2 m or 2 m + 1, 80] log mel of the same
  at::Tensor embedding;            // [192] x-vector of the same, not normalised
};

class VoiceModules {
public:
  /// @param s3gen the root of s3gen.safetensors; "tokenizer." and "speaker_encoder." are taken.
  /// @param voice_encoder the root of ve.safetensors.
  VoiceModules(const VoiceModulesConfig& config, const StateDict& s3gen, const StateDict& voice_encoder);

  /// @param samples_24khz [n], @param samples_16khz [2 n / 3], the whole clip, at least a second of it.
  /// @throws std::invalid_argument when the voice encoder hears no speaker.
  [[nodiscard]] ClipConditionals prepare(const at::Tensor& samples_24khz, const at::Tensor& samples_16khz) const;

  // Parts, for tests.
  [[nodiscard]] const SpeechTokenizer& speech_tokenizer() const noexcept { return speech_tokenizer_; }
  [[nodiscard]] const SpeakerEncoder& speaker_encoder() const noexcept { return speaker_encoder_; }
  [[nodiscard]] const VoiceEncoder& voice_encoder() const noexcept { return voice_encoder_; }

private:
  [[nodiscard]] at::Tensor speaker(const at::Tensor& samples_16khz) const;

  SpeechTokenizer speech_tokenizer_;
  SpeakerEncoder speaker_encoder_;
  VoiceEncoder voice_encoder_;
};

} // namespace audiobookd::engine::chatterbox
