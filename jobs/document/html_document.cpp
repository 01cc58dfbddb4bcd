// See html_document.h.
#include "jobs/document/html_document.h"

#include "jobs/document/chapter_builder.h"
#include "jobs/document/gutenberg.h"
#include "jobs/document/html_page.h"

#include <iterator>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// Ids in the page itself that links to notes lead to.
NoteIds notes_of(const HtmlPage& page) {
  NoteIds notes;
  for (const std::string& link : page.note_links) {
    if (link.starts_with('#')) {
      notes.insert(link.substr(1));
    }
  }
  return notes;
}

} // namespace

Document parse_html(std::string_view bytes, std::string_view name, const DocumentLimits& limits) {
  const std::string name_of_page(name);
  if (bytes.size() > limits.max_bytes) {
    throw DocumentError(name_of_page + ": " + std::to_string(bytes.size()) + " bytes, more than the limit of " +
                        std::to_string(limits.max_bytes));
  }
  HtmlPage page = read_html_page(bytes, name_of_page, limits);
  if (const NoteIds notes = notes_of(page); !notes.empty()) {
    page = read_html_page(bytes, name_of_page, limits, notes);
  }
  Document document;
  document.title = std::move(page.title);
  document.author = std::move(page.author);
  document.language = std::move(page.language);
  document.description = std::move(page.description);
  document.warnings = std::move(page.warnings);
  const auto [first, last] = range_without_gutenberg_licence(page.blocks);
  page.blocks.erase(page.blocks.begin() + static_cast<std::ptrdiff_t>(last), page.blocks.end());
  page.blocks.erase(page.blocks.begin(), page.blocks.begin() + static_cast<std::ptrdiff_t>(first));
  if (page.code_blocks > 0) {
    document.warnings.push_back(code_warning(name_of_page, page.code_blocks));
  }
  add_chapters_by_headings(document, std::move(page.blocks));
  finish_chapters(document, name, bytes.size());
  return document;
}

} // namespace audiobookd::jobs
