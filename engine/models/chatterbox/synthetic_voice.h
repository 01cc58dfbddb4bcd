// A voice made by the synthetic-weight formula, for checkpoints that have no recorded one. Any thread.
#pragma once

#include "engine/models/chatterbox/config.h"

#include <vector>

namespace audiobookd::engine::chatterbox {

/// The bytes of a conds.pt with the longest prompts that the model takes (T3: speech_cond_prompt_len tokens; S3Gen:
/// 10 s, 250 tokens and 500 mel frames), as torch.save() of the reference would store it. It sounds like noise.
[[nodiscard]] std::vector<char> make_synthetic_voice(const Config& config);

} // namespace audiobookd::engine::chatterbox
