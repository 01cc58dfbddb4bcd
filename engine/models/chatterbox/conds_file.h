// The reference's conds.pt as bytes. Any thread.
#pragma once

#include "engine/voice_file.h"

#include <string>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Channels of the prompt's mel.
inline constexpr std::int64_t prompt_mel_channels = 80;

/// The archive that torch.save() of the reference makes of a voice; torch.load(weights_only=True) reads it.
[[nodiscard]] std::vector<char> conds_archive(const VoiceConditionals& conditionals);

/// The voice in an archive. @param name for messages. @throws std::runtime_error as read_conds().
[[nodiscard]] VoiceConditionals parse_conds(const std::vector<char>& archive, const std::string& name);

/// @throws std::invalid_argument naming the field, as conds.pt calls it, that does not belong to the others or holds
/// what cannot be: a speech token outside [0, 6561), a number that is not finite, nothing.
void check_conditionals(const VoiceConditionals& conditionals);

} // namespace audiobookd::engine::chatterbox
