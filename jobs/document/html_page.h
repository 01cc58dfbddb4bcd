// One page of HTML or XHTML to blocks: what is read aloud of it, in order.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/block.h"
#include "jobs/document/document.h"

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace audiobookd::jobs {

struct HtmlPage {
  std::string title; ///< of `<title>`, `<meta>` and `<html lang>`; empty where the page does not say
  std::string author;
  std::string language;
  std::string description;
  std::vector<Block> blocks;
  /// id → index into blocks of what is read first at that place; may be one behind the last.
  std::unordered_map<std::string, std::size_t> anchors;
  std::vector<std::string> note_links; ///< where links to notes lead, as they stand in the page; links back are none
  std::size_t code_blocks = 0;         ///< left out
  bool is_table_of_contents = false;   ///< nearly all of its text is links to other places
  std::vector<std::string> warnings;
};

/// Which notes there are.
using NoteIds = std::unordered_set<std::string>;

/// Reads a page.
///
/// - Text of block elements becomes paragraphs, headings keep their level, `<hr>` is a scene break; two `<br>` in a row
///   end a paragraph, one is a space. A row of a table is a paragraph, its cells separated by commas.
/// - Left out: what html_rules.h says, elements whose id is in @p notes, blocks of code (counted), pictures but for
///   those that stand for text: initials, and the alternative text of one in a heading that has no other.
/// - Of a page with a `<main>`, this alone is read.
///
/// @param name the page in messages.
/// @throws DocumentError as decode_markup() and HtmlTree; an element nested deeper than max_depth.
[[nodiscard]] HtmlPage read_html_page(std::string_view bytes, const std::string& name, const DocumentLimits& limits,
                                      const NoteIds& notes = {});

} // namespace audiobookd::jobs
