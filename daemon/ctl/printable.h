// Text of others on a terminal: titles, errors and worker names come from whoever can write into the queue.
//
// Pure functions: any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace audiobookd::daemon {

/// @p text without what a terminal would obey: control characters (line breaks, too) and characters that turn the
/// direction of writing or are invisible become escapes like \x1b or \u202e, damaged UTF-8 becomes U+FFFD.
[[nodiscard]] std::string printable(std::string_view text);

/// The first @p columns code points of UTF-8, the last of them "…" if something is missing.
[[nodiscard]] std::string shortened(const std::string& text, std::size_t columns);

/// UTF-8 with spaces behind it up to @p columns code points.
[[nodiscard]] std::string padded(const std::string& text, std::size_t columns);

} // namespace audiobookd::daemon
