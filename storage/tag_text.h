// Text as the tags of all formats may hold it. Stateless; any thread.
#pragma once

#include <string>
#include <string_view>
#include <taglib/tstring.h>

namespace audiobookd::storage {

/// Text from strangers: valid UTF-8, line breaks and tabs as spaces, no other control characters.
[[nodiscard]] TagLib::String clean_tag_text(std::string_view text);

/// The three-letter code (ISO 639-2) of a language tag, or "" when it is not known.
[[nodiscard]] std::string language_code(std::string_view language);

} // namespace audiobookd::storage
