// Which chapters of a document are wanted: "1-3,7".
//
// Plain values and pure functions: any thread.
#pragma once

#include "jobs/document/document.h"

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Numbers of chapters, counted from 1 as `audiobookctl chapters` prints them. Both ends belong to it.
struct ChapterRange {
  static constexpr std::size_t end_of_book = std::numeric_limits<std::size_t>::max();

  std::size_t first = 1;
  std::size_t last = end_of_book;

  bool operator==(const ChapterRange&) const = default;
};

/// Reads numbers and ranges with commas between: "7", "1-3,7", "5-" (from the fifth to the end).
/// @throws std::invalid_argument saying what is wrong with @p text.
[[nodiscard]] std::vector<ChapterRange> parse_chapter_ranges(std::string_view text);

/// Drops the chapters of @p document that are in none of @p ranges. The others stay in reading order, each once, and
/// are called as in the whole book: those without title get their chapter_title(). No ranges: all chapters stay.
/// @throws DocumentError naming a chapter that there is not, and how many there are.
void select_chapters(Document& document, const std::vector<ChapterRange>& ranges);

/// What chapter @p index of @p document is called in listings and tags: its title, that of the document for an untitled
/// beginning, else "Chapter N".
[[nodiscard]] std::string chapter_title(const Document& document, std::size_t index);

} // namespace audiobookd::jobs
