// Markdown to a document, through cmark.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string_view>

namespace audiobookd::jobs {

/// Reads CommonMark, with what read_markdown_source() knows, in any encoding that decode_text() knows.
///
/// - Headings begin chapters as add_chapters_by_headings() says; attributes behind them (`{#id}`) are no text. A
/// thematic
///   break is a scene break. Items of lists and rows of tables (`| a | b |`) are paragraphs.
/// - Emphasis is dropped, the text of links and inline code is read; pictures and blocks of code are left out (the
/// latter
///   with a warning). Blocks of HTML are read as read_html_page() says, tags among text are dropped.
///
/// @param name the document in messages.
/// @throws DocumentError when the text is over @p limits, cannot be decoded, has more than 1000 pictures in one
/// paragraph, or holds nothing to read aloud.
Document parse_markdown(std::string_view bytes, std::string_view name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
