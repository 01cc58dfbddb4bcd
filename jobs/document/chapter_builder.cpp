// See chapter_builder.h.
#include "jobs/document/chapter_builder.h"

#include "jobs/document/line_shapes.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t longest_title_bytes = 300;
constexpr std::size_t longest_repeated_title = 100; // characters
constexpr int lowest_level = 6;

using Blocks = std::span<Block>;

bool is_scene_break(const Paragraph& p) { return p.kind == ParagraphKind::scene_break; }

void append_title(std::string& title, const std::string& more) {
  if (!more.empty() && title.size() + more.size() <= longest_title_bytes) {
    title += (title.empty() ? "" : ": ") + more;
  }
}

bool has_only_headings(const Chapter& chapter) {
  return std::ranges::all_of(chapter.paragraphs, [](const Paragraph& p) { return p.kind != ParagraphKind::body; });
}

bool has_level(const Blocks& blocks, int level) {
  return std::ranges::any_of(blocks, [&](const Block& block) { return block.level == level; });
}

int next_level(const Blocks& blocks, int level) {
  do {
    ++level;
  } while (level <= lowest_level && !has_level(blocks, level));
  return level;
}

/// Whether every heading of @p level has a lower one behind it at once, or none until the next of its level.
bool only_divides(const Blocks& blocks, int level) {
  bool any_divided = false;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].level != level) {
      continue;
    }
    const bool is_followed = i + 1 < blocks.size() && blocks[i + 1].level > level;
    any_divided = any_divided || is_followed;
    for (std::size_t k = i + 1; !is_followed && k < blocks.size() && (blocks[k].level == 0 || blocks[k].level > level);
         ++k) {
      if (blocks[k].level > level) {
        return false;
      }
    }
  }
  return any_divided;
}

/// Marks paragraphs like "Chapter IX" as headings.
void find_headings(Blocks blocks) {
  for (Block& block : blocks) {
    const HeadingShape shape = heading_shape(block.paragraph.text);
    if (block.paragraph.kind == ParagraphKind::body &&
        (shape == HeadingShape::bare_number || shape == HeadingShape::numbered)) {
      block.paragraph.kind = ParagraphKind::heading;
      block.level = 1;
    }
  }
}

/// Titles of a chapter by the headings that it begins with.
std::string title_of(Blocks headings, int chapter_level) {
  std::string title;
  bool is_expected = false; // behind a bare number
  for (const Block& heading : headings) {
    if (heading.level == 0 || (heading.level > chapter_level && !is_expected)) {
      break;
    }
    append_title(title, heading.paragraph.text);
    is_expected = heading_shape(heading.paragraph.text) == HeadingShape::bare_number;
  }
  return title;
}

/// Letters and digits of @p text, lower-cased.
std::string essence(std::string_view text) {
  std::string result;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) {
    if (u_isalnum(c)) {
      append_code_point(result, u_foldCase(c, U_FOLD_CASE_DEFAULT));
    }
  });
  return result;
}

/// Paragraphs in the beginning of a chapter that say its title, all of it or the parts in order, become headings.
void promote_title(Blocks blocks, const std::string& title) {
  std::string rest = essence(title);
  for (Block& block : blocks) {
    const std::string& text = block.paragraph.text;
    const std::string said = count_characters(text) <= longest_repeated_title ? essence(text) : "";
    if (said.empty() || !rest.starts_with(said)) {
      return;
    }
    rest.erase(0, said.size());
    block.paragraph.kind = ParagraphKind::heading;
  }
}

/// Index of the heading that is the title of everything, @p title if that is known; the number of blocks if none is.
std::size_t title_block(const Blocks& blocks, int top, const std::string& title) {
  const auto is_heading = [](const Block& block) { return block.level > 0; };
  const auto first = std::ranges::find_if(blocks, is_heading);
  if (first == blocks.end() || std::none_of(first + 1, blocks.end(), is_heading)) {
    return blocks.size();
  }
  const bool is_single = first->level == top && std::ranges::count(blocks, top, &Block::level) == 1;
  const bool is_known = !title.empty() && essence(first->paragraph.text) == essence(title);
  return is_single || is_known ? static_cast<std::size_t>(first - blocks.begin()) : blocks.size();
}

void append(Chapter& chapter, Blocks blocks) {
  for (Block& block : blocks) {
    chapter.paragraphs.push_back(std::move(block.paragraph));
  }
}

/// Drops scene breaks that do not stand between two body paragraphs or a body paragraph and a heading.
void drop_idle_scene_breaks(std::vector<Paragraph>& paragraphs) {
  const auto is_idle = [](const Paragraph& before, const Paragraph& p) {
    return is_scene_break(p) && before.kind != ParagraphKind::body;
  };
  paragraphs.erase(paragraphs.begin(), std::find_if_not(paragraphs.begin(), paragraphs.end(), is_scene_break));
  paragraphs.erase(std::unique(paragraphs.begin(), paragraphs.end(), is_idle), paragraphs.end());
  if (!paragraphs.empty() && is_scene_break(paragraphs.back())) {
    paragraphs.pop_back();
  }
}

} // namespace

void add_chapters_by_headings(Document& document, std::vector<Block> blocks) {
  if (std::ranges::none_of(blocks, [](const Block& block) { return block.level > 0; })) {
    find_headings(blocks);
  }
  int level = next_level(blocks, 0);
  const std::size_t title = title_block(blocks, level, document.title);
  if (title < blocks.size()) {
    const bool is_single = std::ranges::count(blocks, level, &Block::level) == 1;
    level = is_single && blocks[title].level == level ? next_level(blocks, level) : level;
    document.title = document.title.empty() ? blocks[title].paragraph.text : document.title;
  }
  while (next_level(blocks, level) <= lowest_level && only_divides(blocks, level)) {
    level = next_level(blocks, level);
  }
  const auto begins = [&](std::size_t i) { return blocks[i].level > 0 && blocks[i].level <= level && i != title; };
  std::vector<ChapterStart> starts;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (begins(i) && (i == 0 || !begins(i - 1))) {
      starts.push_back({i, title_of(Blocks(blocks).subspan(i), level)});
    }
  }
  add_chapters_at(document, std::move(blocks), starts);
}

void add_chapters_at(Document& document, std::vector<Block> blocks, std::span<const ChapterStart> starts) {
  const Blocks all(blocks);
  document.chapters.emplace_back();
  append(document.chapters.back(), all.first(starts.empty() ? all.size() : std::min(starts[0].block, all.size())));
  bool is_titled = false;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t begin = std::min(starts[i].block, all.size());
    const std::size_t end = i + 1 < starts.size() ? std::min(starts[i + 1].block, all.size()) : all.size();
    const Blocks own = all.subspan(begin, std::max(begin, end) - begin);
    promote_title(own, starts[i].title);
    // Before the first start there may be headings that belong to none: those of a title page.
    if (!has_only_headings(document.chapters.back())) {
      document.chapters.emplace_back();
      is_titled = false;
    }
    Chapter& chapter = document.chapters.back();
    chapter.title = is_titled ? chapter.title : "";
    append_title(chapter.title, starts[i].title);
    is_titled = true;
    append(chapter, own);
  }
}

void finish_chapters(Document& document, std::string_view name, std::size_t bytes) {
  for (Chapter& chapter : document.chapters) {
    drop_idle_scene_breaks(chapter.paragraphs);
  }
  std::erase_if(document.chapters, [](const Chapter& chapter) { return chapter.paragraphs.empty(); });
  if (document.chapters.empty()) {
    throw DocumentError(std::string(name) + ": nothing to read aloud in " + std::to_string(bytes) + " bytes");
  }
}

std::string code_warning(std::string_view name, std::size_t count) {
  return std::string(name) + ": " + std::to_string(count) +
         (count == 1 ? " block of source code was left out" : " blocks of source code were left out");
}

} // namespace audiobookd::jobs
