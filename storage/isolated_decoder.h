// Decoding a file in a process of its own, which a hostile file may crash. Any thread.
#pragma once

#include "storage/audio_reader.h"
#include "storage/wav_file.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace audiobookd::storage {

/// Decodes @p file in a child that can open nothing, and whose memory and time are limited.
/// @param program the executable `audiobook-clip-decoder`.
/// @throws PermanentError naming the file: what AudioReader says of it, or how its decoder died; TransientError when no
/// process could be started or it took longer than @p patience.
[[nodiscard]] AudioClip decode_in_child(const std::filesystem::path& program, const std::filesystem::path& file,
                                        const DecodeLimits& limits = {},
                                        std::chrono::seconds patience = std::chrono::seconds(60));

/// The same of a file's @p content, which is called @p name in messages.
[[nodiscard]] AudioClip decode_in_child(const std::filesystem::path& program, std::string_view content,
                                        const std::string& name, const DecodeLimits& limits = {},
                                        std::chrono::seconds patience = std::chrono::seconds(60));

/// The child's side: decodes @p in (named @p name in messages) to @p out as decode_in_child() reads it.
/// @throws PermanentError as AudioReader; TransientError when @p out cannot take more.
void send_decoded(int in, int out, const std::string& name, const DecodeLimits& limits);

} // namespace audiobookd::storage
