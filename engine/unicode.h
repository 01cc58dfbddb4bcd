// What the text front needs to know of Unicode: UTF-8, character classes, capital letters.
//
// The last three functions have two implementations: unicode_icu.cpp, and unicode_basic.cpp for the engine-only build
// (its limits are listed there). Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

namespace audiobookd::engine::unicode {

inline constexpr char32_t replacement_character = 0xFFFD;

/// UTF-8 to code points. Every maximal ill-formed part becomes one U+FFFD (Unicode standard, section 3.9).
[[nodiscard]] std::u32string decode(std::string_view utf8);

/// Code points to UTF-8. Surrogates and values above U+10FFFF become U+FFFD.
[[nodiscard]] std::string encode(std::u32string_view text);

/// Property White_Space, `\s` of HuggingFace tokenizers (Rust regex).
[[nodiscard]] bool is_white_space(char32_t c) noexcept;

/// What Python's str.split() and str.strip() take for white space: also the separators U+001C to U+001F.
[[nodiscard]] bool is_space(char32_t c) noexcept;

/// `\w` of HuggingFace tokenizers (Rust regex): alphabetic, marks, decimal digits, connectors, join controls.
[[nodiscard]] bool is_word(char32_t c) noexcept;

/// Property Lowercase, as Python's str.islower() sees a single character.
[[nodiscard]] bool is_lower(char32_t c) noexcept;

/// Full, locale-independent upper-case mapping of one character (a Unicode scalar value): "ß" becomes "SS".
[[nodiscard]] std::u32string to_upper(char32_t c);

} // namespace audiobookd::engine::unicode
