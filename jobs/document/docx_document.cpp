// See docx_document.h. Office Open XML, ECMA-376 part 1: 11.3 (parts), 17.3 (paragraphs), 17.7 (styles).
#include "jobs/document/docx_document.h"

#include "jobs/document/block.h"
#include "jobs/document/chapter_builder.h"
#include "jobs/document/xml_tree.h"
#include "jobs/document/zip_archive.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr int title_level = 0;
constexpr int body_level = -1;
constexpr int contents_level = -2; ///< a line of the table of contents
constexpr int code_level = -3;
constexpr int lowest_level = 6;

struct Style {
  int level = body_level;
  bool has_level = false;
  std::string based_on = {};
};
using Styles = std::unordered_map<std::string, Style>; ///< by id

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

std::string_view value_of(const pugi::xml_node& element) { return attribute(element, "val"); }

/// Whether a property without further ado, or "true", is on.
bool is_on(const pugi::xml_node& property) {
  const std::string_view value = value_of(property);
  return property && value != "0" && value != "false" && value != "none";
}

int number_of(std::string_view digits, int fallback) {
  int number = fallback;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

Style read_style(const pugi::xml_node& style) {
  const std::string name = lower_case(value_of(child(style, "name")));
  const pugi::xml_node outline = child(child(style, "pPr"), "outlineLvl");
  Style result{.based_on = std::string(value_of(child(style, "basedOn")))};
  if (name.starts_with("heading ")) {
    result.level = std::clamp(number_of(std::string_view(name).substr(8), 1), 1, lowest_level);
  } else if (name == "title") {
    result.level = title_level;
  } else if (name.starts_with("toc ") || name == "table of contents") {
    result.level = contents_level;
  } else if (name == "source code" || name == "html preformatted") {
    result.level = code_level;
  } else if (outline && number_of(value_of(outline), 9) < lowest_level) {
    result.level = std::max(number_of(value_of(outline), 9), 0) + 1;
  }
  result.has_level = result.level != body_level;
  return result;
}

/// What the paragraphs of a style are: by itself or by what it is based on.
int level_of(const Styles& styles, const std::string& id) {
  constexpr int most_steps = 20; // a style may be based on itself
  auto style = styles.find(id);
  for (int step = 0; step < most_steps && style != styles.end(); ++step) {
    if (style->second.has_level) {
      return style->second.level;
    }
    style = styles.find(style->second.based_on);
  }
  return body_level;
}

class DocxReader {
public:
  DocxReader(const Styles& styles, Document& document) : styles_(styles), document_(document) {}

  /// What is within a body, a cell or a content control.
  void read_blocks(const pugi::xml_node& parent) {
    for (const pugi::xml_node& node : parent.children()) {
      const std::string_view name = local_name(node);
      if (name == "p") {
        read_paragraph(node);
      } else if (name == "tbl") {
        read_table(node);
      } else if (name == "sdt") {
        if (value_of(child(child(child(node, "sdtPr"), "docPartObj"), "docPartGallery")) != "Table of Contents") {
          read_blocks(child(node, "sdtContent"));
        }
      } else if (name == "ins" || name == "moveTo" || name == "customXml" || name == "smartTag") {
        read_blocks(node);
      }
    }
  }
  std::vector<Block> take_blocks() { return std::move(writer_.blocks()); }
  [[nodiscard]] std::size_t code_blocks() const noexcept { return code_blocks_; }

private:
  void read_paragraph(const pugi::xml_node& paragraph) {
    const pugi::xml_node properties = child(paragraph, "pPr");
    int level = level_of(styles_, std::string(value_of(child(properties, "pStyle"))));
    if (const pugi::xml_node outline = child(properties, "outlineLvl"); level == body_level && outline) {
      const int outline_level = number_of(value_of(outline), 9) + 1;
      level = outline_level >= 1 && outline_level <= lowest_level ? outline_level : body_level;
    }
    if (level == contents_level || level == code_level) {
      code_blocks_ += level == code_level ? 1 : 0;
      return;
    }
    read_runs(paragraph);
    if (level == title_level) {
      document_.title = document_.title.empty() ? writer_.text() : document_.title;
    }
    if (!in_row_) {
      // The title stands above all headings.
      writer_.end_block(level == body_level ? 0 : std::min(level + 1, lowest_level));
    }
    writer_.add_space();
  }

  void read_runs(const pugi::xml_node& parent) {
    static const std::unordered_set<std::string_view> containers = {
        "hyperlink", "ins", "smartTag", "sdt", "sdtContent", "fldSimple", "moveTo", "customXml", "dir", "bdo"};
    for (const pugi::xml_node& node : parent.children()) {
      if (local_name(node) == "r" && !is_on(child(child(node, "rPr"), "vanish"))) {
        read_run(node);
      } else if (containers.contains(local_name(node))) {
        read_runs(node);
      }
    }
  }

  void read_run(const pugi::xml_node& run) {
    for (const pugi::xml_node& node : run.children()) {
      const std::string_view name = local_name(node);
      if (name == "t") {
        writer_.add_text(node.child_value());
      } else if (name == "tab" || name == "br" || name == "cr") {
        writer_.add_space();
      } else if (name == "noBreakHyphen") {
        writer_.add_text("-");
      } else if (name == "pict" && !attribute(child(node, "rect"), "hr").empty()) {
        writer_.add_scene_break(); // a horizontal line
      }
    }
  }

  void read_table(const pugi::xml_node& table) {
    for (const pugi::xml_node& row : table.children()) {
      if (local_name(row) != "tr") {
        continue;
      }
      const bool outer = std::exchange(in_row_, true);
      for (const pugi::xml_node& cell : row.children()) {
        if (local_name(cell) == "tc") {
          writer_.add_separator();
          read_blocks(cell);
        }
      }
      in_row_ = outer;
      if (!in_row_) {
        writer_.end_block();
      }
    }
  }

  const Styles& styles_;
  Document& document_;
  BlockWriter writer_;
  bool in_row_ = false;
  std::size_t code_blocks_ = 0;
};

/// The parts of an archive as trees.
class Parts {
public:
  Parts(const ZipArchive& archive, const DocumentLimits& limits) : archive_(archive), limits_(limits) {}

  void read(pugi::xml_document& tree, const std::string& member) const {
    parse_xml(tree, archive_.read(member, limits_.max_bytes), archive_.name() + ": " + member, limits_);
  }
  /// The target of the first relation of @p type that @p relations, a member, lists; @p fallback if there is none.
  [[nodiscard]] std::string target(const std::string& relations, std::string_view base, std::string_view type,
                                   const std::string& fallback) const {
    if (!archive_.contains(relations)) {
      return fallback;
    }
    pugi::xml_document tree;
    read(tree, relations);
    for (const pugi::xml_node& relation : child(tree, "Relationships").children()) {
      if (attribute(relation, "Type").ends_with(type)) {
        const std::string_view link = attribute(relation, "Target");
        return link.starts_with('/') ? resolve_member("", link.substr(1)) : resolve_member(base, link);
      }
    }
    return fallback;
  }
  [[nodiscard]] bool contains(const std::string& member) const { return archive_.contains(member); }

private:
  const ZipArchive& archive_;
  const DocumentLimits& limits_;
};

std::string relations_of(const std::string& member) {
  const std::size_t slash = member.rfind('/');
  const std::size_t file = slash == std::string::npos ? 0 : slash + 1;
  return member.substr(0, file) + "_rels/" + member.substr(file) + ".rels";
}

Styles read_styles(const Parts& parts, const std::string& main_part, Document& document) {
  Styles styles;
  const std::string member = parts.target(relations_of(main_part), main_part, "/styles", "word/styles.xml");
  if (!parts.contains(member)) {
    return styles;
  }
  pugi::xml_document tree;
  parts.read(tree, member);
  const pugi::xml_node root = child(tree, "styles");
  for (const pugi::xml_node& style : root.children()) {
    if (local_name(style) == "style") {
      styles.try_emplace(std::string(attribute(style, "styleId")), read_style(style));
    }
  }
  const pugi::xml_node defaults = child(child(child(root, "docDefaults"), "rPrDefault"), "rPr");
  document.language = clean_text(value_of(child(defaults, "lang")));
  return styles;
}

void read_properties(const Parts& parts, Document& document) {
  const std::string member = parts.target("_rels/.rels", "", "/core-properties", "docProps/core.xml");
  if (!parts.contains(member)) {
    return;
  }
  pugi::xml_document tree;
  parts.read(tree, member);
  const pugi::xml_node properties = child(tree, "coreProperties");
  document.title = text_of(child(properties, "title"));
  document.author = text_of(child(properties, "creator"));
  for (std::size_t at = 0; (at = document.author.find(';', at)) != std::string::npos; ++at) { // between several authors
    document.author.replace(at, 1, ", ");
  }
  document.author = clean_text(document.author);
  document.description = text_of(child(properties, "description"));
  const std::string language = text_of(child(properties, "language"));
  document.language = language.empty() ? document.language : language;
}

} // namespace

Document parse_docx(std::string_view bytes, std::string_view name, const DocumentLimits& limits) {
  const ZipArchive archive(bytes, std::string(name), limits);
  const Parts parts(archive, limits);
  const std::string main_part = parts.target("_rels/.rels", "", "/officeDocument", "word/document.xml");
  if (!parts.contains(main_part)) {
    throw DocumentError(std::string(name) + ": not a Word document: the archive has no word/document.xml");
  }
  Document document;
  const Styles styles = read_styles(parts, main_part, document);
  read_properties(parts, document);
  pugi::xml_document tree;
  parts.read(tree, main_part);
  DocxReader reader(styles, document);
  reader.read_blocks(child(child(tree, "document"), "body"));
  if (reader.code_blocks() > 0) {
    document.warnings.push_back(code_warning(name, reader.code_blocks()));
  }
  add_chapters_by_headings(document, reader.take_blocks());
  finish_chapters(document, name, bytes.size());
  return document;
}

} // namespace audiobookd::jobs
