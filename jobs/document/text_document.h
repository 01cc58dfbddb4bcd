// Plain text to a document: paragraphs from hard-wrapped or unwrapped lines, headings, scene breaks, chapters.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string_view>

namespace audiobookd::jobs {

/// Reads plain text in any encoding that decode_text() knows.
///
/// - Paragraphs are separated by blank lines; the lines of one are joined by spaces. Where some lines are indented and
///   some are not, an indented line begins a paragraph; where a line is longer than 120 characters the text is not
///   hard-wrapped and every line is a paragraph.
/// - A word divided by a hyphen at the end of a line is joined without it if the joined word occurs elsewhere in the
///   text, else the hyphen stays ("well-" + "known"); a soft hyphen always goes.
/// - Headings and scene breaks are recognised as line_shapes.h says; capitals are a heading only between blank lines.
///   Numbered headings begin chapters; other headings begin chapters only in texts without numbered ones. Headings in a
///   row belong to one chapter, and its title is theirs, joined by ": ". Unnumbered headings in front of everything are
///   the title of the document if numbered ones follow; they are read aloud but no part of a chapter's title.
/// - The licence around a text of Project Gutenberg is left out; title, author and language are taken from it.
/// - Scene breaks at the edges of a chapter and repeated ones are dropped.
///
/// @param name the document in error messages, for example its path.
/// @throws DocumentError when the text is over @p limits, cannot be decoded, or holds nothing to read aloud.
Document parse_text(std::string_view bytes, std::string_view name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
