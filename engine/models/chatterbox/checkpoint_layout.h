// The tensors of an English Chatterbox checkpoint: what its three weight files hold, in module order.
//
// Generators write exactly these; loaders can ignore parts by their prefixes. Pure functions; any thread.
#pragma once

#include "engine/models/chatterbox/config.h"
#include "engine/safetensors.h"

#include <cstdint>
#include <string>
#include <vector>

namespace audiobookd::engine::chatterbox {

inline constexpr const char* t3_file_name = "t3_cfg.safetensors";
inline constexpr const char* s3gen_file_name = "s3gen.safetensors";
inline constexpr const char* voice_encoder_file_name = "ve.safetensors";

struct TensorSpec {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape; ///< empty: a scalar
};

/// `t3_cfg.safetensors`: the backbone, conditioning encoder, embeddings and heads.
[[nodiscard]] std::vector<TensorSpec> t3_layout(const T3Config& config);

/// `s3gen.safetensors`: `tokenizer.` (speech tokenizer, without its two optional tables), `speaker_encoder.` (CAM++),
/// `flow.` and `mel2wav.` (HiFT).
[[nodiscard]] std::vector<TensorSpec> s3gen_layout(const Config& config);

/// `ve.safetensors`: the voice encoder.
[[nodiscard]] std::vector<TensorSpec> voice_encoder_layout(const VoiceModulesConfig& config);

} // namespace audiobookd::engine::chatterbox
