// See gutenberg.h.
#include "jobs/document/gutenberg.h"

#include <algorithm>
#include <array>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t longest_header = 20'000; // bytes; the licence before a book has about 1,000

/// Whether @p line is "*** START OF THE PROJECT GUTENBERG EBOOK …" or one of its older forms. @param verb START or END.
bool is_mark(std::string_view line, std::string_view verb) {
  if (!line.starts_with("***")) {
    return false;
  }
  line.remove_prefix(std::min(line.find_first_not_of("* "), line.size()));
  return line.starts_with(verb) && line.substr(verb.size()).starts_with(" OF TH") &&
         line.find("PROJECT GUTENBERG") != std::string_view::npos;
}

/// Calls @p visit with every line of @p text and its offset until it returns false.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (!visit(text.substr(begin, end - begin), begin)) {
      return;
    }
    begin = end + 1;
  }
}

std::string language_tag(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> tags = {{{"English", "en"},
                                                                                  {"French", "fr"},
                                                                                  {"German", "de"},
                                                                                  {"Spanish", "es"},
                                                                                  {"Italian", "it"},
                                                                                  {"Dutch", "nl"},
                                                                                  {"Portuguese", "pt"},
                                                                                  {"Finnish", "fi"}}};
  const auto* const found =
      std::ranges::find(tags, std::string_view(name), &std::pair<std::string_view, std::string_view>::first);
  return found == tags.end() ? "" : std::string(found->second);
}

void read_header(std::string_view header, GutenbergText& text) {
  std::string language;
  std::array<std::pair<std::string_view, std::string*>, 3> fields = {
      {{"Title: ", &text.title}, {"Author: ", &text.author}, {"Language: ", &language}}};
  for_each_line(header, [&](std::string_view line, std::size_t) {
    for (auto& [field, value] : fields) {
      if (value->empty() && line.starts_with(field)) {
        *value = clean_text(line.substr(field.size()));
      }
    }
    return true;
  });
  text.language = language_tag(language);
}

} // namespace

GutenbergText without_gutenberg_licence(std::string_view text) {
  GutenbergText result{.body = text, .title = {}, .author = {}, .language = {}};
  for_each_line(text.substr(0, longest_header), [&](std::string_view line, std::size_t offset) {
    if (!is_mark(line, "START")) {
      return true;
    }
    read_header(text.substr(0, offset), result);
    const std::size_t stars = text.find("***", offset + 3); // the title may go on in the next line
    const bool is_near = stars != std::string_view::npos && stars < offset + 2 * std::max<std::size_t>(line.size(), 80);
    result.body = text.substr(is_near ? stars + 3 : std::min(offset + line.size(), text.size()));
    return false;
  });
  if (result.body.size() == text.size()) {
    return result;
  }
  const std::string_view body = result.body;
  for_each_line(body, [&](std::string_view line, std::size_t offset) {
    if (is_mark(line, "END")) {
      result.body = body.substr(0, offset);
      return false;
    }
    return true;
  });
  return result;
}

BookRange range_without_gutenberg_licence(const std::vector<Block>& blocks) {
  const auto is_start = [](const Block& block) { return is_mark(block.paragraph.text, "START"); };
  const auto is_end = [](const Block& block) { return is_mark(block.paragraph.text, "END"); };
  const auto start = std::ranges::find_if(blocks, is_start);
  const auto first = start == blocks.end() ? blocks.begin() : start + 1;
  const auto last = std::find_if(first, blocks.end(), is_end);
  return {static_cast<std::size_t>(first - blocks.begin()), static_cast<std::size_t>(last - blocks.begin())};
}

} // namespace audiobookd::jobs
