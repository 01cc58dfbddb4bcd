// What Markdown files have around and within CommonMark: front matter and notes.
//
// Pure functions: any thread.
#pragma once

#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Strings are empty where the front matter does not say.
struct MarkdownSource {
  std::string title;
  std::string author; ///< several are joined by ", "
  std::string language;
  std::string series;
  std::string series_index;
  std::string publisher;
  std::string year;
  std::string description;
  std::string body; ///< CommonMark: without the front matter, notes and references to notes
};

/// Takes a file apart.
///
/// - Front matter is YAML between a first line `---` and a line `---` or `...`, of which keys with a plain, quoted or
///   folded value and lists of these are understood: title, author (or authors, creator), language (or lang), series,
///   series_index, publisher, date, description. Or pandoc's title block: lines that begin with `%`: title, authors,
///   date.
/// - Notes (`[^1]: …` and the lines indented below) and references to them (`[^1]`) are left out, not so inside of
/// code.
///
/// @param text UTF-8 with '\n' at the ends of lines.
[[nodiscard]] MarkdownSource read_markdown_source(std::string_view text);

} // namespace audiobookd::jobs
