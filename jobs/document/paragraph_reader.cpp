// Lines of plain text to paragraphs. Pure functions: any thread.
#include "jobs/document/paragraph_reader.h"

#include "jobs/document/line_shapes.h"
#include "jobs/document/vocabulary.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <span>
#include <string>
#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t longest_wrapped_line = 120; // characters
constexpr std::size_t most_capitals_lines = 3;
constexpr std::string_view soft_hyphen = "\xc2\xad";

struct Line {
  std::string text; ///< white space squeezed
  bool is_indented = false;
};
using Lines = std::span<const Line>;

std::string squeeze_white_space(std::string_view text) {
  std::string result;
  bool space_due = false;
  for_each_code_point(text, [&](UChar32 code_point, std::size_t begin, std::size_t end) {
    if (u_isUWhiteSpace(code_point)) {
      space_due = !result.empty();
      return;
    }
    result += std::exchange(space_due, false) ? " " : "";
    result += text.substr(begin, end - begin);
  });
  return result;
}

std::vector<Line> split_lines(std::string_view text) {
  std::vector<Line> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    lines.push_back({squeeze_white_space(line), line.starts_with("  ") || line.starts_with('\t')});
  }
  return lines;
}

bool is_capitals(const Line& line) { return heading_shape(line.text) == HeadingShape::capitals; }

class ParagraphReader {
public:
  explicit ParagraphReader(std::string_view text) : vocabulary_(text), lines_(split_lines(text)) {}

  std::vector<TextParagraph> read() {
    const auto separates = [](const Line& line) { return line.text.empty() || is_scene_break(line.text); };
    for (Lines rest = lines_; !rest.empty();) {
      const auto separator = std::find_if(rest.begin(), rest.end(), separates);
      const auto block = rest.first(static_cast<std::size_t>(separator - rest.begin()));
      if (!block.empty()) {
        read_body(block.subspan(read_headings(block)));
      }
      rest = rest.subspan(block.size());
      if (!rest.empty()) {
        add(rest.first(1), ParagraphKind::scene_break);
        rest = rest.subspan(1);
      }
    }
    return std::move(paragraphs_);
  }

private:
  /// Takes the headings at the beginning of @p block, lines without a blank one. @return how many lines they are.
  std::size_t read_headings(Lines block) {
    std::size_t taken = 0;
    while (taken < block.size()) {
      const Lines rest = block.subspan(taken);
      const std::size_t count = heading_lines(rest);
      if (count == 0) {
        break;
      }
      const HeadingShape shape = heading_shape(rest.front().text);
      const bool is_bare = shape == HeadingShape::bare_number;
      add(rest.first(count), ParagraphKind::heading, is_bare || shape == HeadingShape::numbered);
      title_expected_ = is_bare;
      taken += count;
    }
    return taken;
  }

  /// How many lines the heading at the beginning of @p block has; 0 if it begins with none.
  [[nodiscard]] std::size_t heading_lines(Lines block) const {
    const HeadingShape shape = heading_shape(block.front().text);
    if (shape == HeadingShape::bare_number || shape == HeadingShape::numbered) {
      const bool sentence_goes_on = block.size() > 1 && u_islower(first_code_point(block[1].text));
      return sentence_goes_on ? 0 : 1;
    }
    if (block.size() <= most_capitals_lines && std::all_of(block.begin(), block.end(), is_capitals)) {
      return block.size();
    }
    return title_expected_ && block.size() == 1 && is_title_line(block.front().text) ? 1 : 0;
  }

  /// Cuts @p block, what is left of one below its headings, into paragraphs.
  void read_body(Lines block) {
    const auto is_short = [](const Line& line) { return count_characters(line.text) <= longest_wrapped_line; };
    const auto is_indented = [](const Line& line) { return line.is_indented; };
    const bool is_wrapped = std::all_of(block.begin(), block.end(), is_short);
    const bool indents_count = !std::all_of(block.begin(), block.end(), is_indented);
    const auto begins_paragraph = [&](const Line& line) { return !is_wrapped || (indents_count && line.is_indented); };
    while (!block.empty()) {
      const auto end = std::find_if(block.begin() + 1, block.end(), begins_paragraph);
      const auto count = static_cast<std::size_t>(end - block.begin());
      add(block.first(count), ParagraphKind::body);
      block = block.subspan(count);
      title_expected_ = false;
    }
  }

  /// Adds the paragraph that @p lines make, unless there is nothing in them.
  void add(Lines lines, ParagraphKind kind, bool is_numbered = false) {
    std::string text;
    for (const Line& line : lines) {
      append_line(text, line.text);
    }
    for (auto at = text.find(soft_hyphen); at != std::string::npos; at = text.find(soft_hyphen, at)) {
      text.erase(at, soft_hyphen.size());
    }
    if (!text.empty()) {
      paragraphs_.push_back({{std::move(text), kind}, is_numbered});
    }
  }

  void append_line(std::string& text, std::string_view line) const {
    const bool word_goes_on = text.size() > 1 && text.back() == '-' && u_islower(first_code_point(line)) &&
                              u_isalpha(last_code_point(std::string_view(text).substr(0, text.size() - 1)));
    if (word_goes_on && vocabulary_.has_joined(std::string_view(text).substr(0, text.size() - 1), line)) {
      text.pop_back();
    } else if (!word_goes_on && !text.empty() && !text.ends_with(soft_hyphen)) {
      text += ' ';
    }
    text += line;
  }

  Vocabulary vocabulary_;
  std::vector<Line> lines_;
  std::vector<TextParagraph> paragraphs_;
  bool title_expected_ = false; ///< the last paragraph is a bare number
};

} // namespace

std::vector<TextParagraph> read_paragraphs(std::string_view text) { return ParagraphReader(text).read(); }

} // namespace audiobookd::jobs
