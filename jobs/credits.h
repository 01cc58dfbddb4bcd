// What a voice says before and after a book: its title, who wrote it, who reads it. Texts with placeholders.
//
// Pure functions: any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Longest text of credits, in bytes.
inline constexpr std::size_t max_credits_bytes = 4096;

inline constexpr const char* default_opening_credits =
    "{title}. {subtitle}. Written by {author}. Narrated by {narrator}.";
inline constexpr const char* default_closing_credits =
    "You have been listening to {title}. Written by {author}. Narrated by {narrator}. The end.";

/// What placeholders stand for. Empty: not known.
struct CreditNames {
  std::string title = {};
  std::string subtitle = {};
  std::string author = {};
  std::string narrator = {};
  std::string series = {};
  std::string series_index = {};
  std::string publisher = {};
  std::string year = {};
};

/// What is wrong with @p text, if anything, for whoever wrote it: nothing to say, too long, or a word of small letters
/// in braces that is no placeholder. Empty: nothing.
[[nodiscard]] std::string complaint_about_credits(std::string_view text);

/// @p text with what its placeholders stand for: `{title}`, `{subtitle}`, `{author}`, `{narrator}`, `{series}`,
/// `{series_index}`, `{publisher}`, `{year}`. A sentence with one that is not known is left out; a full stop behind a
/// name that ends with one is not doubled. Other braces are left alone.
[[nodiscard]] std::string expand_credits(std::string_view text, const CreditNames& names);

} // namespace audiobookd::jobs
