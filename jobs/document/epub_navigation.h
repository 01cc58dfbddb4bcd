// The tables of contents of an EPUB: navigation document and NCX.
//
// Pure functions: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace audiobookd::jobs {

/// One line of a table of contents.
struct NavigationPoint {
  std::string title;
  std::string member;   ///< the page, as the archive names it
  std::string fragment; ///< id in the page; empty: its beginning
  int depth = 0;        ///< in the table; the points below one follow it, a depth higher
};

struct Navigation {
  std::vector<NavigationPoint> points;    ///< in the order of the table
  std::unordered_set<std::string> unread; ///< pages that the landmarks call cover, contents, index or imprint
};

/// Reads the `toc` and `landmarks` of an EPUB 3's navigation document.
/// @param member its name in the archive, to which its links are relative. @param name of it in messages.
/// @throws DocumentError as HtmlTree.
[[nodiscard]] Navigation read_navigation_document(std::string_view bytes, const std::string& member,
                                                  const std::string& name, const DocumentLimits& limits);

/// Reads the `navMap` of an EPUB 2's NCX. Parameters as above.
/// @throws DocumentError as parse_xml().
[[nodiscard]] Navigation read_ncx(std::string_view bytes, const std::string& member, const std::string& name,
                                  const DocumentLimits& limits);

} // namespace audiobookd::jobs
