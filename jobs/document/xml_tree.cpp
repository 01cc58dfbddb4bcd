// See xml_tree.h.
#include "jobs/document/xml_tree.h"

#include "jobs/document/block.h"
#include "jobs/document/html_tree.h"

#include <algorithm>

namespace audiobookd::jobs {
namespace {

std::string_view without_prefix(std::string_view name) {
  const std::size_t colon = name.rfind(':');
  return colon == std::string_view::npos ? name : name.substr(colon + 1);
}

/// Walks over a tree; pugixml does so without recursion.
class DepthCheck : public pugi::xml_tree_walker {
public:
  explicit DepthCheck(int most) : most_(most) {}
  bool for_each(pugi::xml_node& /*node*/) override { return depth() < most_; }

private:
  const int most_;
};

class TextCollector : public pugi::xml_tree_walker {
public:
  bool for_each(pugi::xml_node& node) override {
    text += node.value(); // of an element: empty
    return true;
  }
  std::string text;
};

} // namespace

void parse_xml(pugi::xml_document& tree, std::string_view bytes, const std::string& name,
               const DocumentLimits& limits) {
  refuse_entity_declarations(bytes, name);
  if (static_cast<std::size_t>(std::ranges::count(bytes, '<')) > 2 * limits.max_xml_elements) {
    throw DocumentError(name + ": more than the limit of " + std::to_string(limits.max_xml_elements) + " XML elements");
  }
  const pugi::xml_parse_result result =
      tree.load_buffer(bytes.data(), bytes.size(), pugi::parse_default | pugi::parse_ws_pcdata);
  if (!result) {
    throw DocumentError(name + ": not well-formed XML: " + result.description() + " at byte offset " +
                        std::to_string(result.offset));
  }
  DepthCheck check(limits.max_depth);
  if (!tree.traverse(check)) {
    throw DocumentError(name + ": nested deeper than " + std::to_string(limits.max_depth) + " elements");
  }
}

std::string_view local_name(const pugi::xml_node& node) noexcept { return without_prefix(node.name()); }

pugi::xml_node child(const pugi::xml_node& parent, std::string_view name) noexcept {
  return parent.find_child([&](const pugi::xml_node& node) { return local_name(node) == name; });
}

std::string_view attribute(const pugi::xml_node& element, std::string_view name) noexcept {
  return element.find_attribute([&](const pugi::xml_attribute& a) { return without_prefix(a.name()) == name; }).value();
}

std::string text_of(const pugi::xml_node& node) {
  TextCollector collector;
  pugi::xml_node root = node;
  root.traverse(collector);
  return clean_text(collector.text);
}

} // namespace audiobookd::jobs
