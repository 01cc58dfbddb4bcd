// HTML as a tree: bytes to UTF-8, and libxml2's parser for HTML, which takes what real pages contain.
//
// A tree is used by one thread; different trees by any.
#pragma once

#include "jobs/document/document.h"

#include <libxml/tree.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Decodes markup: the encoding is that of its byte order mark, else that of its XML declaration or `<meta>`, else as
/// decode_text() finds it. Damaged sequences become U+FFFD, with a warning.
/// @param name the document in messages. @param warnings is added to.
/// @throws DocumentError for NUL characters: these are no text.
[[nodiscard]] std::string decode_markup(std::string_view bytes, const std::string& name,
                                        std::vector<std::string>& warnings);

/// A parsed page. Nothing outside of it is opened; entities that it declares are not expanded.
class HtmlTree {
public:
  /// @param utf8 as decode_markup() gives it. @param name the page in messages.
  /// @throws DocumentError: over max_bytes or max_depth, entities of its own are declared, a tag has more than
  /// 1000 attributes.
  HtmlTree(const std::string& utf8, const std::string& name, const DocumentLimits& limits);

  /// The element `html`; null for a page without any element.
  [[nodiscard]] const xmlNode* root() const noexcept;

private:
  struct Free {
    void operator()(xmlDoc* document) const noexcept { xmlFreeDoc(document); }
  };
  std::unique_ptr<xmlDoc, Free> document_;
};

/// Lower-case name of an element; empty for anything else.
[[nodiscard]] std::string_view element_name(const xmlNode& node) noexcept;

/// Value of an attribute, empty if there is none. Points into the tree.
[[nodiscard]] std::string_view attribute(const xmlNode& element, const char* name) noexcept;

/// All text below @p node, cleaned as by clean_text().
[[nodiscard]] std::string text_of(const xmlNode& node);

/// @throws DocumentError naming @p name if @p markup declares entities: they could grow without bound or name files.
void refuse_entity_declarations(std::string_view markup, const std::string& name);

} // namespace audiobookd::jobs
