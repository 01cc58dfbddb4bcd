// Names of outputs: placeholders in a job's `output`, and what people call things as the name of a file.
//
// Pure functions: any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Longest name that these functions give, in bytes.
inline constexpr std::size_t max_output_name_bytes = 200;

/// @p text (UTF-8) as the name of a file that every system takes, phones' memory cards and Windows included: no control
/// characters, `/ \ | < >` become '-', `: ` becomes " - " and another ':' '-', '"' becomes an apostrophe, `? *` go; no
/// leading dots, no white space at the edges or doubled, no dots at the end; at most @p max_bytes, cut at a character.
/// Empty when nothing is left.
[[nodiscard]] std::string safe_name(std::string_view text, std::size_t max_bytes = max_output_name_bytes);

/// Whether @p name ends like that of an audio file, ".mp3" for example.
[[nodiscard]] bool names_audio(std::string_view name);

/// What placeholders stand for. Empty: not known.
struct OutputNames {
  std::string author = {};
  std::string series = {};
  std::string series_index = {};
  std::string title = {};
  std::string year = {};
  std::string narrator = {};
};

/// Whether @p output has placeholders: `{author}`, `{series}`, `{series_index}`, `{title}`, `{year}`, `{narrator}`.
[[nodiscard]] bool has_placeholders(std::string_view output);

/// @throws JobError for a name of small letters in braces that is no placeholder, and for one in the name of a bucket.
void check_placeholders(std::string_view output);

/// @p output with what its placeholders stand for, as safe_name(). Of a component whose placeholders are all empty
/// nothing is left; of one in which some are, no blanks, dashes, commas or underscores at the edges.
/// @throws JobError as check_placeholders(), and when the last component vanishes.
[[nodiscard]] std::string expand_output(std::string_view output, const OutputNames& names);

} // namespace audiobookd::jobs
