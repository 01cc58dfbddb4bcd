// Small XML files of an archive (metadata, tables of contents, Word's text) as trees of pugixml, within limits.
//
// Pure functions of their arguments: any thread, each tree by one.
#pragma once

#include "jobs/document/document.h"

#include <pugixml.hpp>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// Parses @p bytes into @p tree. Nothing outside is opened, no entity but the five of XML is expanded.
/// @param name the file in messages.
/// @throws DocumentError: not well-formed, with the offset; entities are declared; over max_xml_elements or max_depth.
void parse_xml(pugi::xml_document& tree, std::string_view bytes, const std::string& name, const DocumentLimits& limits);

/// Name of an element or attribute without its namespace's prefix.
[[nodiscard]] std::string_view local_name(const pugi::xml_node& node) noexcept;

/// First child with that local name; null if there is none.
[[nodiscard]] pugi::xml_node child(const pugi::xml_node& parent, std::string_view name) noexcept;

/// Value of the attribute with that local name; empty if there is none.
[[nodiscard]] std::string_view attribute(const pugi::xml_node& element, std::string_view name) noexcept;

/// All text below @p node, cleaned as by clean_text().
[[nodiscard]] std::string text_of(const pugi::xml_node& node);

} // namespace audiobookd::jobs
