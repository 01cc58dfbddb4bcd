// Files that are compiled into the engine: what a generated checkpoint needs beside its weights. Any thread.
#pragma once

#include <string_view>

namespace audiobookd::engine::chatterbox {

/// The English tokenizer.json (HuggingFace format, 704 entries).
[[nodiscard]] std::string_view embedded_tokenizer() noexcept;

/// The conds.pt of the tiny checkpoint: a voice of 20 prompt tokens.
[[nodiscard]] std::string_view embedded_tiny_voice() noexcept;

} // namespace audiobookd::engine::chatterbox
