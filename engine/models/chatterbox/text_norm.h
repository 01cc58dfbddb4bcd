// Text as Chatterbox wants it, up to its token ids. Pure functions; any thread.
#pragma once

#include "engine/models/chatterbox/config.h"
#include "engine/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Normalises punctuation (`punc_norm` of the reference): the first letter becomes a capital, white space one space,
/// typographic and rare punctuation plain, and text without an end gets a full stop. An empty text becomes a sentence
/// that asks for one. @param text UTF-8; ill-formed parts become U+FFFD.
[[nodiscard]] std::string punc_norm(std::string_view text);

/// Loads `tokenizer.json` of an English checkpoint.
/// @throws std::runtime_error as BpeTokenizer::load(), and when the vocabulary does not fit @p config: more ids than
/// rows, `[START]` or `[STOP]` under another id, no `[SPACE]`.
[[nodiscard]] BpeTokenizer load_english_tokenizer(const std::filesystem::path& checkpoint, const T3Config& config);

/// The ids of normalised English text: every space becomes `[SPACE]`. Without start and stop tokens.
[[nodiscard]] std::vector<std::int32_t> encode_english(const BpeTokenizer& tokenizer, std::string_view text);

} // namespace audiobookd::engine::chatterbox
