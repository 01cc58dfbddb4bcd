// Lines of plain text to paragraphs: joins wrapped lines, recognises headings and scene breaks.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// A paragraph on its way into a chapter.
struct TextParagraph {
  Paragraph paragraph;
  bool is_numbered = false; ///< a heading like "Chapter 3", not one that is only in capitals
};

/// Cuts @p text, UTF-8 with '\n' at the ends of lines, into paragraphs by the rules in text_document.h.
std::vector<TextParagraph> read_paragraphs(std::string_view text);

} // namespace audiobookd::jobs
