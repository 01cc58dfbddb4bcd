// Bytes of a text file to UTF-8: finds the encoding or refuses the file, and unifies line ends.
//
// A pure function: any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

struct DecodedText {
  std::string text;    ///< valid UTF-8; lines end with '\n'; no control characters but '\n' and '\t'
  std::string warning; ///< a sentence for the user when the encoding is a guess; else empty
};

/// Decodes UTF-8, with or without a byte order mark, UTF-16 with one, and Windows-1252 (which includes Latin-1).
/// Windows-1252 is a guess, made with a warning when the bytes are not UTF-8 and do not look like damaged UTF-8 either.
/// CR, CRLF, NEL and U+2028 become '\n'; form feed, vertical tab and U+2029 become a blank line.
/// @param name the document in messages.
/// @throws DocumentError naming the offset (in bytes) of what cannot be text: NUL and other control characters, a
/// damaged UTF-8 or UTF-16 sequence, a byte that Windows-1252 does not define.
DecodedText decode_text(std::string_view bytes, std::string_view name);

/// The code point of @p byte in Windows-1252; U+FFFD for one of the five that it does not define.
[[nodiscard]] char32_t from_windows_1252(std::uint8_t byte) noexcept;

} // namespace audiobookd::jobs
