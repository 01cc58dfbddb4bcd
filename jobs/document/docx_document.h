// Word documents (.docx) to documents.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string_view>

namespace audiobookd::jobs {

/// Reads the text of an Office Open XML document.
///
/// - Paragraphs with a heading style, or with one that is based on it, are headings of that level; chapters begin at
/// them
///   as add_chapters_by_headings() says. A paragraph of style Title is the title. A row of a table is a paragraph.
/// - Notes, headers, footers, comments, deleted and hidden text, pictures, text boxes and the table of contents are
/// left
///   out.
/// - Title, author, language and description are those of its properties.
///
/// @param name the document in messages.
/// @throws DocumentError as ZipArchive and parse_xml(), or when there is nothing to read aloud.
Document parse_docx(std::string_view bytes, std::string_view name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
