// See markdown_document.h.
#include "jobs/document/markdown_document.h"

#include "jobs/document/block.h"
#include "jobs/document/chapter_builder.h"
#include "jobs/document/gutenberg.h"
#include "jobs/document/html_page.h"
#include "jobs/document/markdown_source.h"
#include "jobs/document/text_encoding.h"

#include <algorithm>
#include <cmark.h>
#include <memory>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// A row of dashes, colons and pipes: the line below the head of a table.
bool is_table_rule(std::string_view line) {
  return line.find_first_not_of("|:- \t") == std::string_view::npos && line.find('-') != std::string_view::npos &&
         line.find('|') != std::string_view::npos;
}

/// "| a | b |" as "a, b".
std::string joined_cells(std::string_view row) {
  std::string result;
  while (!row.empty()) {
    const std::size_t end = std::min(row.find('|'), row.size());
    const std::string cell = clean_text(row.substr(0, end));
    result += cell.empty() || result.empty() ? cell : ", " + cell;
    row.remove_prefix(std::min(row.size(), end + 1));
  }
  return result;
}

/// Without "{#id .class}" at its end.
std::string_view without_attributes(std::string_view heading) {
  const std::size_t brace = heading.rfind(" {");
  const bool has_attributes = brace != std::string_view::npos && heading.ends_with('}') && brace + 2 < heading.size() &&
                              std::string_view("#.-").find(heading[brace + 2]) != std::string_view::npos;
  return has_attributes ? heading.substr(0, brace) : heading;
}

/// cmark takes time that grows with the square of how many pictures one paragraph may have.
void refuse_crowded_paragraphs(std::string_view text, const std::string& name) {
  constexpr std::size_t most_pictures = 1000;
  std::size_t pictures = 0;
  for (std::size_t at = text.find_first_of("!\n"); at != std::string_view::npos;
       at = text.find_first_of("!\n", at + 1)) {
    const bool is_blank_line = text.substr(at).starts_with("\n\n");
    pictures = is_blank_line ? 0 : pictures + (text.substr(at).starts_with("![") ? 1 : 0);
    if (pictures > most_pictures) {
      throw DocumentError(name + ": more than " + std::to_string(most_pictures) +
                          " pictures (\"![\") in one paragraph");
    }
  }
}

class MarkdownReader {
public:
  MarkdownReader(std::string name, const DocumentLimits& limits) : name_(std::move(name)), limits_(limits) {}

  void read(cmark_node* root) {
    const std::unique_ptr<cmark_iter, void (*)(cmark_iter*)> iterator(cmark_iter_new(root), cmark_iter_free);
    for (cmark_event_type event = cmark_iter_next(iterator.get()); event != CMARK_EVENT_DONE;
         event = cmark_iter_next(iterator.get())) {
      visit(cmark_iter_get_node(iterator.get()), event == CMARK_EVENT_ENTER);
    }
  }
  [[nodiscard]] std::vector<Block> take_blocks() { return std::move(writer_.blocks()); }
  [[nodiscard]] std::size_t code_blocks() const noexcept { return code_blocks_; }
  [[nodiscard]] std::vector<std::string>& warnings() noexcept { return warnings_; }

private:
  void visit(cmark_node* node, bool is_enter) {
    const cmark_node_type type = cmark_node_get_type(node);
    pictures_ += type == CMARK_NODE_IMAGE ? (is_enter ? 1 : -1) : 0;
    switch (type) {
    case CMARK_NODE_PARAGRAPH:
    case CMARK_NODE_HEADING:
      if (!is_enter) {
        end_block(type == CMARK_NODE_HEADING ? cmark_node_get_heading_level(node) : 0);
      }
      break;
    case CMARK_NODE_TEXT:
    case CMARK_NODE_CODE: add(cmark_node_get_literal(node)); break;
    case CMARK_NODE_SOFTBREAK:
    case CMARK_NODE_LINEBREAK: add("\n"); break;
    case CMARK_NODE_HTML_INLINE: add_tag(cmark_node_get_literal(node)); break;
    case CMARK_NODE_HTML_BLOCK: read_html(cmark_node_get_literal(node)); break;
    case CMARK_NODE_THEMATIC_BREAK: writer_.add_scene_break(); break;
    case CMARK_NODE_CODE_BLOCK: ++code_blocks_; break;
    default: break;
    }
  }

  void add(const char* text) { text_ += text == nullptr || pictures_ > 0 ? "" : text; }

  void add_tag(const char* tag) {
    if (tag != nullptr && std::string_view(tag).starts_with("<br")) {
      add("\n");
    }
  }

  void read_html(const char* html) {
    HtmlPage page = read_html_page(html == nullptr ? "" : html, name_, limits_);
    writer_.add(std::move(page.blocks));
    code_blocks_ += page.code_blocks;
    std::ranges::move(page.warnings, std::back_inserter(warnings_));
  }

  void end_block(int level) {
    const std::string text = std::exchange(text_, {});
    std::string_view rest = level > 0 ? without_attributes(text) : text;
    for (const std::string_view box : {"[ ] ", "[x] ", "[X] "}) {
      rest.remove_prefix(rest.starts_with(box) ? box.size() : 0);
    }
    const std::string_view second = rest.substr(std::min(rest.find('\n'), rest.size()));
    if (level == 0 && second.size() > 1 && is_table_rule(second.substr(1, second.find('\n', 1) - 1))) {
      add_table(rest);
      return;
    }
    writer_.add_text(rest);
    writer_.end_block(level);
  }

  void add_table(std::string_view rows) {
    while (!rows.empty()) {
      const std::string_view row = rows.substr(0, rows.find('\n'));
      rows.remove_prefix(std::min(rows.size(), row.size() + 1));
      if (!is_table_rule(row)) {
        writer_.add_text(joined_cells(row));
        writer_.end_block();
      }
    }
  }

  const std::string name_;
  const DocumentLimits& limits_;
  BlockWriter writer_;
  std::string text_; ///< of the block that is being read, with '\n' at its ends of lines
  int pictures_ = 0; ///< around what is being read
  std::size_t code_blocks_ = 0;
  std::vector<std::string> warnings_;
};

Document describe(MarkdownSource& source) {
  Document document;
  document.title = std::move(source.title);
  document.author = std::move(source.author);
  document.language = std::move(source.language);
  document.series = std::move(source.series);
  document.series_index = std::move(source.series_index);
  document.publisher = std::move(source.publisher);
  document.year = std::move(source.year);
  document.description = std::move(source.description);
  return document;
}

} // namespace

Document parse_markdown(std::string_view bytes, std::string_view name, const DocumentLimits& limits) {
  if (bytes.size() > limits.max_bytes) {
    throw DocumentError(std::string(name) + ": " + std::to_string(bytes.size()) + " bytes, more than the limit of " +
                        std::to_string(limits.max_bytes));
  }
  const DecodedText decoded = decode_text(bytes, name);
  MarkdownSource source = read_markdown_source(without_gutenberg_licence(decoded.text).body);
  refuse_crowded_paragraphs(source.body, std::string(name));
  const std::unique_ptr<cmark_node, void (*)(cmark_node*)> root(
      cmark_parse_document(source.body.data(), source.body.size(), CMARK_OPT_DEFAULT), cmark_node_free);
  MarkdownReader reader(std::string(name), limits);
  reader.read(root.get());
  Document document = describe(source);
  document.warnings = std::move(reader.warnings());
  if (!decoded.warning.empty()) {
    document.warnings.push_back(decoded.warning);
  }
  if (reader.code_blocks() > 0) {
    document.warnings.push_back(code_warning(name, reader.code_blocks()));
  }
  add_chapters_by_headings(document, reader.take_blocks());
  finish_chapters(document, name, bytes.size());
  return document;
}

} // namespace audiobookd::jobs
