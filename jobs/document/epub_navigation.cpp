// See epub_navigation.h. EPUB 3.3 (W3C), chapter 7; NCX of DAISY 3 (ANSI/NISO Z39.86-2005), chapter 8.
#include "jobs/document/epub_navigation.h"

#include "jobs/document/html_rules.h"
#include "jobs/document/html_tree.h"
#include "jobs/document/xml_tree.h"
#include "jobs/document/zip_archive.h"

#include <algorithm>

namespace audiobookd::jobs {
namespace {

NavigationPoint make_point(std::string title, std::string_view base, std::string_view link) {
  const std::size_t hash = link.find('#');
  return {.title = std::move(title),
          .member = link.starts_with('#') ? std::string(base) : resolve_member(base, link),
          .fragment = hash == std::string_view::npos ? "" : std::string(link.substr(hash + 1))};
}

/// Calls @p visit with all elements below @p node that are called @p name, in the order of the page, and in how many
/// lists they are. HtmlTree bounds how deep that goes.
template <typename Visit>
void for_each_element(const xmlNode& node, std::string_view name, const Visit& visit, int lists = 0) {
  for (const xmlNode* child = node.children; child != nullptr; child = child->next) {
    if (element_name(*child) == name) {
      visit(*child, lists);
    }
    if (child->type == XML_ELEMENT_NODE) {
      for_each_element(*child, name, visit, lists + (element_name(*child) == "ol" ? 1 : 0));
    }
  }
}

void read_nav(const xmlNode& nav, const std::string& member, Navigation& navigation) {
  const std::string_view type = attribute(nav, "epub:type");
  for_each_element(nav, "a", [&](const xmlNode& link, int lists) {
    NavigationPoint point = make_point(text_of(link), member, attribute(link, "href"));
    point.depth = std::max(lists - 1, 0);
    if (has_word(type, "toc") && !point.member.empty()) {
      navigation.points.push_back(std::move(point));
    } else if (has_word(type, "landmarks") && is_unread_part(attribute(link, "epub:type")) && point.fragment.empty()) {
      navigation.unread.insert(std::move(point.member));
    }
  });
}

void read_points(const pugi::xml_node& parent, const std::string& member, int depth, Navigation& navigation) {
  for (const pugi::xml_node& element : parent.children()) {
    if (local_name(element) != "navPoint") {
      continue;
    }
    NavigationPoint point = make_point(text_of(child(child(element, "navLabel"), "text")), member,
                                       attribute(child(element, "content"), "src"));
    point.depth = depth;
    if (!point.member.empty()) {
      navigation.points.push_back(std::move(point));
    }
    read_points(element, member, depth + 1, navigation);
  }
}

} // namespace

Navigation read_navigation_document(std::string_view bytes, const std::string& member, const std::string& name,
                                    const DocumentLimits& limits) {
  Navigation navigation;
  std::vector<std::string> warnings; // of the encoding: the pages have the same
  const HtmlTree tree(decode_markup(bytes, name, warnings), name, limits);
  if (tree.root() != nullptr) {
    for_each_element(*tree.root(), "nav", [&](const xmlNode& nav, int) { read_nav(nav, member, navigation); });
  }
  return navigation;
}

Navigation read_ncx(std::string_view bytes, const std::string& member, const std::string& name,
                    const DocumentLimits& limits) {
  pugi::xml_document tree;
  parse_xml(tree, bytes, name, limits);
  Navigation navigation;
  read_points(child(child(tree, "ncx"), "navMap"), member, 0, navigation);
  return navigation;
}

} // namespace audiobookd::jobs
