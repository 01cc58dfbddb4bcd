// Which elements of a page are read aloud, and how.
//
// Pure functions: any thread.
#pragma once

#include <libxml/tree.h>
#include <string_view>

namespace audiobookd::jobs {

enum class HtmlRole {
  inline_text, ///< its text belongs to the paragraph around it; also what is not known
  block,
  heading,
  cell, ///< of a table: its text is set apart from its neighbour's in the row
  quotation,
  image,
  line_break,
  thematic_break,
  code,     ///< a block of source code
  left_out, ///< scripts, forms, navigation, asides, notes, page numbers, what is hidden
};

/// The role of @p element by its name and attributes: `hidden`, `aria-hidden`, `style`, `role` (ARIA and DPUB-ARIA),
/// `epub:type` (EPUB 3 Structural Semantics), and classes and ids that are customary for notes, page numbers and the
/// licence of Project Gutenberg.
[[nodiscard]] HtmlRole role_of(const xmlNode& element);

/// 1 to 6 for `h1` to `h6`, else 0.
[[nodiscard]] int heading_level(std::string_view element_name);

/// Whether @p element, an `a`, refers to a note: it says so, or it leads to a place in a page and its text is nothing
/// but a number or a mark, raised or in brackets.
[[nodiscard]] bool is_note_link(const xmlNode& element);

/// Whether @p words, separated by spaces, contain @p word.
[[nodiscard]] bool has_word(std::string_view words, std::string_view word);

/// Whether one of @p semantics (values of `epub:type`) names a part of a book that is not read aloud: its cover, table
/// of contents, index, notes, or imprint.
[[nodiscard]] bool is_unread_part(std::string_view semantics);

} // namespace audiobookd::jobs
