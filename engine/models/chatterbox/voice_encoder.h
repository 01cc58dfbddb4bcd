// Voice encoder: a clip's power mel to one vector that says who speaks (the reference's models/voice_encoder; after Wan
// et al. 2018). Immutable once built; any thread. Callers hold an at::InferenceMode guard.
#pragma once

#include "engine/layers/linear.h"
#include "engine/models/chatterbox/config.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine::chatterbox {

class VoiceEncoder {
public:
  /// @param weights the root of ve.safetensors.
  VoiceEncoder(const VoiceModulesConfig& config, const StateDict& weights);

  /// Windows of 1.6 s every 0.77 s; the last one is kept when at least 80 % of it is there, and padded with zeros.
  /// There is always one. @param mel [frames, mels] from voice_encoder_mel(). @return [windows, 160, mels]
  [[nodiscard]] static at::Tensor windows_of(const at::Tensor& mel);

  /// A unit vector for each window. @param windows [windows, 160, mels]. @return [windows, embed_size]
  [[nodiscard]] at::Tensor embed_windows(const at::Tensor& windows) const;

  /// The speaker of a clip: the mean of its windows' vectors, a unit vector again.
  /// @param samples [n] at 16 kHz, silent ends cut off, n > 200. @return [embed_size]
  [[nodiscard]] at::Tensor embed(const at::Tensor& samples) const;

private:
  VoiceModulesConfig config_;
  std::vector<at::Tensor> lstm_; // of each layer: input weight, hidden weight, both biases; gates i, f, g, o
  Linear projection_;
};

} // namespace audiobookd::engine::chatterbox
