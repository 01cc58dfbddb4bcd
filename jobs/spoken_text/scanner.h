// Goes through one paragraph and lets the rules read what they know. Any thread, with a Speller of its own.
#pragma once

#include "jobs/spoken_text/dictionary.h"
#include "jobs/spoken_text/speller.h"

#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// What the rules may do.
enum class RuleSet {
  english,
  numbers, ///< decoration is left out, whole numbers become words
  plain,   ///< decoration is left out
  none,    ///< the dictionary only
};

/// @p text (after plain_characters()) with the dictionary's @p matches and what the rules make of the rest.
/// @param speller of the language; may be null for RuleSet::plain and ::none.
[[nodiscard]] std::string scan(std::string_view text, const std::vector<DictionaryMatch>& matches, RuleSet rules,
                               const Speller* speller, const std::string& language, bool is_heading);

} // namespace audiobookd::jobs
