// A voice: everything T3 and S3Gen are conditioned on, as the reference stores it in conds.pt.
#pragma once

#include "engine/hash128.h"
#include "engine/models/chatterbox/config.h"
#include "engine/voice_file.h"

#include <ATen/core/Tensor.h>
#include <filesystem>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// What S3Gen continues from; precedes every utterance.
struct SpeakerPrompt {
  at::Tensor prompt_token; // [num_tokens] int64, S3 speech tokens, at most 250 once cut
  at::Tensor prompt_feat;  // [2 * num_tokens, 80] log mel at 24 kHz, 20 ms frames
  at::Tensor embedding;    // [192] x-vector, not normalised
};

/// What a clip of a speaker becomes: the contents of a conds.pt, or what was computed from the clip. fp32 where nothing
/// else is said.
struct Conditionals {
  at::Tensor speaker_emb;          // [256] voice-encoder embedding
  at::Tensor prompt_speech_tokens; // [num_tokens] int64, at most 150, for T3's perceiver
  float exaggeration = 0.5f;       // emotion the voice was made with; an utterance may set its own
  SpeakerPrompt prompt;

  /// Tensors on the CPU. A frame more than two a token, of a clip that ends within a token, is left out.
  /// @param values that belong together, as write_voice_file() asks for.
  static Conditionals from(const VoiceConditionals& values);

  /// The values in a conds.pt. @throws std::runtime_error as read_conds().
  static Conditionals read(const std::filesystem::path& file);

  /// @throws std::invalid_argument naming the field, as conds.pt calls it, of which size or values do not suit a model
  /// of @p config.
  void check(const Config& config) const;
};

/// Tensors lie on the engine's device; immutable once loaded.
struct Voice : Conditionals {
  Hash128 content_hash; // over all values

  /// @param conditionals on the CPU, checked.
  /// @param prompt_seconds S3Gen's prompt is cut to so many of its first seconds, as if the clip had been shorter.
  static Voice from(const Conditionals& conditionals, at::Device device, double prompt_seconds = 10);

  /// Reads and checks a conds.pt for a model of @p config. @throws std::runtime_error naming file and field.
  static Voice from_conds(const std::filesystem::path& file, const Config& config, at::Device device,
                          double prompt_seconds = 10);
};

/// The files @p checkpoint/voices/NAME.pt, sorted: voices besides conds.pt. NAME is that of a job's field `voice`.
/// @throws std::runtime_error naming a file whose NAME is not 1 to 128 of A-Z a-z 0-9 _ . - or is "default", which is
/// conds.pt.
[[nodiscard]] std::vector<std::filesystem::path> voice_files(const std::filesystem::path& checkpoint);

} // namespace audiobookd::engine::chatterbox
