// EPUB 2 and 3 to a document.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string_view>

namespace audiobookd::jobs {

/// Reads an EPUB.
///
/// - Pages are read in the order of the spine as read_html_page() says, those with `linear="no"` not. Left out are the
///   navigation document, notes that links lead to, wherever they are, pages that guide or landmarks call cover, table
///   of contents, index or imprint, pages that consist of links, and the licence of Project Gutenberg.
/// - Chapters begin where the navigation document says (EPUB 3), else the NCX (EPUB 2), also in the middle of a page;
///   where neither says anything that can be found, at headings as add_chapters_by_headings() says.
/// - Title, authors, language, series (calibre's, or EPUB 3's collection), publisher, year, description and identifier
///   are those of the package document; the cover is the picture that it names.
/// - What is missing or damaged beside the text becomes a warning.
///
/// @param name the document in messages.
/// @throws DocumentError as ZipArchive, read_epub_package() and read_html_page(), or when there is nothing to read
/// aloud.
Document parse_epub(std::string_view bytes, std::string_view name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
