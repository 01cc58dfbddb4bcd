// A voice: everything T3 and S3Gen are conditioned on, as the reference stores it in conds.pt.
#pragma once

#include "engine/hash128.h"

#include <ATen/core/Tensor.h>
#include <filesystem>

namespace audiobookd::engine::chatterbox {

/// What S3Gen continues from; precedes every utterance.
struct SpeakerPrompt {
  at::Tensor prompt_token; // [num_tokens] int64, S3 speech tokens, at most 250
  at::Tensor prompt_feat;  // [2 * num_tokens, 80] log mel at 24 kHz, 20 ms frames
  at::Tensor embedding;    // [192] x-vector, not normalised
};

/// Tensors lie on the engine's device; immutable once loaded.
struct Voice {
  at::Tensor speaker_emb;          // [256] voice-encoder embedding
  at::Tensor prompt_speech_tokens; // [num_tokens] int64, at most 150, for T3's perceiver
  float exaggeration = 0.5f;       // emotion the voice was made with; an utterance may set its own
  SpeakerPrompt prompt;
  Hash128 content_hash; // over all values

  /// Reads a conds.pt (zip archive with a pickled dictionary of tensors; no code is executed).
  /// @param prompt_seconds S3Gen's prompt is cut to so many of its first seconds, as if the clip had been shorter.
  /// @throws std::runtime_error naming file and field when something is missing or has a wrong shape.
  static Voice from_conds(const std::filesystem::path& file, at::Device device, double prompt_seconds = 10);
};

} // namespace audiobookd::engine::chatterbox
