// See html_page.h.
#include "jobs/document/html_page.h"

#include "jobs/document/html_rules.h"
#include "jobs/document/html_tree.h"
#include "jobs/document/line_shapes.h"
#include "jobs/utf8.h"

#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// Walks over a tree and writes what is read aloud.
class PageReader {
public:
  PageReader(std::string name, const DocumentLimits& limits, const NoteIds& notes, HtmlPage& page)
      : name_(std::move(name)), limits_(limits), notes_(notes), page_(page) {}

  void read(const xmlNode* node) {
    visit(node);
    writer_.end_block();
    page_.blocks = std::move(writer_.blocks());
    page_.anchors = std::move(writer_.anchors());
    page_.is_table_of_contents = links_ >= 3 && link_bytes_ * 10 >= text_bytes_ * 8;
  }

private:
  void visit(const xmlNode* node) {
    if (++depth_ > limits_.max_depth) {
      throw DocumentError(name_ + ": nested deeper than " + std::to_string(limits_.max_depth) + " elements");
    }
    if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) {
      add_text(*node);
    } else if (node->type == XML_ELEMENT_NODE) {
      visit_element(*node);
    }
    --depth_;
  }

  void visit_children(const xmlNode& element) {
    for (const xmlNode* child = element.children; child != nullptr; child = child->next) {
      visit(child);
    }
  }

  void add_text(const xmlNode& node) {
    const std::string_view text = node.content == nullptr ? "" : reinterpret_cast<const char*>(node.content);
    if (!clean_text(text).empty()) {
      breaks_ = 0;
      text_bytes_ += text.size();
      link_bytes_ += in_link_ ? text.size() : 0;
    }
    writer_.add_text(text);
  }

  void visit_element(const xmlNode& element) {
    const HtmlRole role = role_of(element);
    if (element_name(element) == "a" && is_note_link(element)) {
      add_note_link(std::string(attribute(element, "href")));
    }
    if (role == HtmlRole::block || role == HtmlRole::heading) {
      end_block();
    }
    mark(element);
    if (!is_note(element)) {
      read_element(element, role);
    }
  }

  void read_element(const xmlNode& element, HtmlRole role) {
    switch (role) {
    case HtmlRole::left_out: break;
    case HtmlRole::code:
      ++page_.code_blocks;
      end_block();
      break;
    case HtmlRole::inline_text: read_inline(element); break;
    case HtmlRole::block:
      visit_children(element);
      end_block();
      break;
    case HtmlRole::heading: read_heading(element); break;
    case HtmlRole::cell: read_cell(element); break;
    case HtmlRole::quotation:
      writer_.add_text("“");
      visit_children(element);
      writer_.add_text("”");
      break;
    case HtmlRole::image: read_image(element); break;
    case HtmlRole::line_break: read_line_break(); break;
    case HtmlRole::thematic_break: writer_.add_scene_break(level_); break;
    }
  }

  void read_inline(const xmlNode& element) {
    const bool is_link = element_name(element) == "a" && !attribute(element, "href").empty();
    links_ += is_link ? 1 : 0;
    const bool outer = std::exchange(in_link_, in_link_ || is_link);
    visit_children(element);
    in_link_ = outer;
  }

  void read_heading(const xmlNode& element) {
    const int outer = std::exchange(level_, heading_level(element_name(element)));
    visit_children(element);
    if (!writer_.has_text()) {
      writer_.add_text(alternative_);
    }
    alternative_.clear();
    end_block();
    level_ = outer;
  }

  void read_cell(const xmlNode& element) {
    writer_.add_separator();
    visit_children(element);
    writer_.add_space();
  }

  /// Initials are text of the paragraph; what else a picture says is heard only where a heading has no other text.
  void read_image(const xmlNode& element) {
    const std::string text = clean_text(attribute(element, "alt"));
    if (level_ > 0) {
      alternative_ += (alternative_.empty() ? "" : " ") + text;
    } else if (count_characters(text) == 1 && u_isalpha(first_code_point(text))) {
      writer_.add_text(text);
    }
  }

  void read_line_break() {
    if (level_ > 0 && heading_shape(writer_.text()) == HeadingShape::bare_number) {
      writer_.add_text(writer_.text().ends_with('.') ? " " : ": ");
    } else if (++breaks_ >= 2 && level_ == 0) {
      end_block();
    }
    writer_.add_space();
  }

  /// Links back, from the note to where it belongs, are none.
  void add_note_link(const std::string& link) {
    const std::size_t hash = link.find('#');
    const std::string file = link.substr(0, hash);
    const bool is_here = file.empty() || name_.ends_with("/" + file);
    if (hash != std::string::npos && !(is_here && writer_.anchors().contains(link.substr(hash + 1)))) {
      page_.note_links.push_back(link);
    }
  }

  void mark(const xmlNode& element) {
    for (const char* name : {"id", "name"}) {
      const std::string_view anchor = attribute(element, name);
      if (!anchor.empty() && (name == std::string_view("id") || element_name(element) == "a")) {
        writer_.mark(std::string(anchor));
      }
    }
  }

  /// Whether @p element is a note: itself, or, as a small block, what it begins with, has the id of one.
  [[nodiscard]] bool is_note(const xmlNode& element) const {
    static const std::unordered_set<std::string_view> blocks = {"p", "div", "li", "dd", "dt", "td", "tr", "blockquote"};
    if (notes_.empty()) {
      return false;
    }
    const auto has_id = [&](const xmlNode& e) {
      return notes_.contains(std::string(attribute(e, "id"))) ||
             (element_name(e) == "a" && notes_.contains(std::string(attribute(e, "name"))));
    };
    const xmlNode* e = &element;
    while (e != nullptr && !has_id(*e)) {
      e = blocks.contains(element_name(element)) ? first_element(*e) : nullptr;
    }
    return e != nullptr;
  }

  /// The element that @p element begins with, if it begins with one.
  static const xmlNode* first_element(const xmlNode& element) {
    for (const xmlNode* child = element.children; child != nullptr; child = child->next) {
      if (child->type == XML_ELEMENT_NODE) {
        return child;
      }
      if (child->type == XML_TEXT_NODE && xmlIsBlankNode(child) == 0) {
        return nullptr;
      }
    }
    return nullptr;
  }

  void end_block() {
    writer_.end_block(level_);
    breaks_ = 0;
  }

  const std::string name_;
  const DocumentLimits& limits_;
  const NoteIds& notes_;
  HtmlPage& page_;
  BlockWriter writer_;
  int depth_ = 0;
  int level_ = 0;  ///< of the heading that is being read
  int breaks_ = 0; ///< `<br>` since the last text
  bool in_link_ = false;
  std::string alternative_; ///< texts of the pictures in the heading that is being read
  std::size_t links_ = 0;
  std::size_t link_bytes_ = 0; ///< of text_bytes_
  std::size_t text_bytes_ = 0;
};

const xmlNode* find_element(const xmlNode* node, std::string_view name) {
  for (; node != nullptr; node = node->next) {
    if (element_name(*node) == name) {
      return node;
    }
    if (const xmlNode* below = find_element(node->type == XML_ELEMENT_NODE ? node->children : nullptr, name)) {
      return below;
    }
  }
  return nullptr;
}

void read_meta(const xmlNode& head, HtmlPage& page) {
  for (const xmlNode* node = head.children; node != nullptr; node = node->next) {
    if (element_name(*node) == "title" && page.title.empty()) {
      page.title = text_of(*node);
    } else if (element_name(*node) == "meta") {
      const std::string_view name = attribute(*node, "name");
      const std::string content = clean_text(attribute(*node, "content"));
      if ((name == "author" || name == "dc.creator" || name == "DC.creator") && !content.empty()) {
        page.author += (page.author.empty() ? "" : ", ") + content;
      }
      page.description = name == "description" ? content : page.description;
    }
  }
}

} // namespace

HtmlPage read_html_page(std::string_view bytes, const std::string& name, const DocumentLimits& limits,
                        const NoteIds& notes) {
  HtmlPage page;
  const HtmlTree tree(decode_markup(bytes, name, page.warnings), name, limits);
  const xmlNode* root = tree.root();
  if (root == nullptr) {
    return page;
  }
  const std::string_view language = attribute(*root, "lang");
  page.language = clean_text(language.empty() ? attribute(*root, "xml:lang") : language);
  if (const xmlNode* head = find_element(root, "head")) {
    read_meta(*head, page);
  }
  const xmlNode* main = find_element(root, "main");
  PageReader(name, limits, notes, page).read(main != nullptr ? main : root);
  return page;
}

} // namespace audiobookd::jobs
