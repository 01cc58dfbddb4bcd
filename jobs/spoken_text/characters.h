// The characters of a text, as the rest of the folder wants them. Pure functions: any thread.
#pragma once

#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Makes characters that look alike one: NFC; ligatures, full-width forms, Roman numerals, mathematical letters and
/// subscripts as plain letters and digits; fractions as "1/2"; spaces of all widths as one, between groups of digits as
/// a comma; digits of other scripts as 0 to 9 if @p ascii_digits. What nobody sees is left out: soft hyphens, marks of
/// width or direction, variation selectors. @param text UTF-8; damage becomes U+FFFD.
[[nodiscard]] std::string plain_characters(std::string_view text, bool ascii_digits);

/// @p text without the underscores of _emphasis_: those that do not join letters or digits.
[[nodiscard]] std::string without_emphasis(std::string text);

/// Superscript digits, which plain_characters() leaves: 0 to 9, or -1.
[[nodiscard]] int superscript_digit(char32_t c) noexcept;

} // namespace audiobookd::jobs
