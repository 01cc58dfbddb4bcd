// An HTML page as a document of its own.
//
// A pure function: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string_view>

namespace audiobookd::jobs {

/// Reads a page as read_html_page() says and cuts it into chapters at its headings as add_chapters_by_headings() says.
/// Notes that its links lead to are left out, and so is the licence of Project Gutenberg.
/// @param name the document in messages.
/// @throws DocumentError as read_html_page(), or when there is nothing to read aloud.
Document parse_html(std::string_view bytes, std::string_view name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
