// Knows the licence texts that Project Gutenberg puts around its books.
//
// Pure functions: any thread.
#pragma once

#include "jobs/document/block.h"

#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Of a plain text; the strings are empty where nothing was found.
struct GutenbergText {
  std::string_view body; ///< of the text, between the lines "*** START OF …" and "*** END OF …"
  std::string title;
  std::string author;
  std::string language; ///< BCP 47
};

/// @p text without the licence around it, all of it if there is none. The result points into @p text.
[[nodiscard]] GutenbergText without_gutenberg_licence(std::string_view text);

/// How many of @p blocks stand before the book, and behind which one it ends: [first, last) is the book.
struct BookRange {
  std::size_t first = 0;
  std::size_t last = 0;
};
[[nodiscard]] BookRange range_without_gutenberg_licence(const std::vector<Block>& blocks);

} // namespace audiobookd::jobs
