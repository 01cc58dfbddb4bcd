// Plain text to a document: distributes its paragraphs over chapters. Pure functions: any thread.
#include "jobs/document/text_document.h"

#include "jobs/document/chapter_builder.h"
#include "jobs/document/gutenberg.h"
#include "jobs/document/paragraph_reader.h"
#include "jobs/document/text_encoding.h"

#include <algorithm>
#include <span>
#include <utility>

namespace audiobookd::jobs {
namespace {

using TextParagraphs = std::span<TextParagraph>;

bool is_heading(const TextParagraph& p) { return p.paragraph.kind == ParagraphKind::heading; }
bool is_numbered(const TextParagraph& p) { return p.is_numbered; }
bool is_unnumbered_heading(const TextParagraph& p) { return is_heading(p) && !is_numbered(p); }

/// The longest part from the beginning of @p paragraphs that fulfils @p condition everywhere.
template <typename Condition>
TextParagraphs leading(TextParagraphs paragraphs, Condition condition) {
  return {paragraphs.begin(), std::find_if_not(paragraphs.begin(), paragraphs.end(), condition)};
}

std::string joined_titles(TextParagraphs headings) {
  std::string title;
  for (const TextParagraph& heading : headings) {
    title += (title.empty() ? "" : ": ") + heading.paragraph.text;
  }
  return title;
}

void append(Chapter& chapter, TextParagraphs paragraphs) {
  for (TextParagraph& paragraph : paragraphs) {
    chapter.paragraphs.push_back(std::move(paragraph.paragraph));
  }
}

bool has_only_headings(const Chapter& chapter) {
  return std::all_of(chapter.paragraphs.begin(), chapter.paragraphs.end(),
                     [](const Paragraph& p) { return p.kind == ParagraphKind::heading; });
}

void fill_chapters(Document& document, TextParagraphs rest) {
  document.chapters.emplace_back();
  const bool any_numbered = std::any_of(rest.begin(), rest.end(), is_numbered);
  if (any_numbered) {
    const TextParagraphs titles = leading(rest, is_unnumbered_heading);
    document.title = joined_titles(titles);
    append(document.chapters.back(), titles);
    rest = rest.subspan(titles.size());
  }
  while (!rest.empty()) {
    const TextParagraphs headings = leading(rest, is_heading);
    if (!headings.empty() && (!any_numbered || std::any_of(headings.begin(), headings.end(), is_numbered))) {
      if (!has_only_headings(document.chapters.back())) {
        document.chapters.emplace_back();
      }
      document.chapters.back().title = joined_titles(headings);
    }
    const std::size_t count = std::max<std::size_t>(1, headings.size());
    append(document.chapters.back(), rest.first(count));
    rest = rest.subspan(count);
  }
}

} // namespace

Document parse_text(std::string_view bytes, std::string_view name, const DocumentLimits& limits) {
  if (bytes.size() > limits.max_bytes) {
    throw DocumentError(std::string(name) + ": " + std::to_string(bytes.size()) + " bytes, more than the limit of " +
                        std::to_string(limits.max_bytes));
  }
  DecodedText decoded = decode_text(bytes, name);
  const GutenbergText text = without_gutenberg_licence(decoded.text);
  std::vector<TextParagraph> paragraphs = read_paragraphs(text.body);
  Document document;
  fill_chapters(document, paragraphs);
  document.title = text.title.empty() ? document.title : text.title;
  document.author = text.author;
  document.language = text.language;
  finish_chapters(document, name, bytes.size());
  if (!decoded.warning.empty()) {
    document.warnings.push_back(std::move(decoded.warning));
  }
  return document;
}

} // namespace audiobookd::jobs
