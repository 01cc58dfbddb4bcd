// See epub_document.h.
#include "jobs/document/epub_document.h"

#include "jobs/document/chapter_builder.h"
#include "jobs/document/cover.h"
#include "jobs/document/epub_navigation.h"
#include "jobs/document/epub_package.h"
#include "jobs/document/gutenberg.h"
#include "jobs/document/html_page.h"
#include "jobs/document/zip_archive.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// All pages of the spine, one behind the other.
class BookText {
public:
  BookText(const ZipArchive& archive, const EpubPackage& package, const DocumentLimits& limits)
      : archive_(archive), limits_(limits) {
    for (const std::string& member : package.spine) {
      order_.try_emplace(member, order_.size());
    }
    for (const std::string& member : package.spine) {
      if (member != package.navigation && !package.unread.contains(member)) {
        pages_.emplace(order_.at(member), read(member));
      }
    }
  }

  /// Reads pages again without the notes in them.
  void leave_out_notes() {
    std::map<std::size_t, NoteIds> notes;
    for (const auto& [position, page] : pages_) {
      for (const std::string& link : page.html.note_links) {
        const std::string target = link.starts_with('#') ? page.member : resolve_member(page.member, link);
        const auto found = order_.find(target);
        if (found != order_.end() && found->second >= position) { // what leads back is no note
          notes[found->second].insert(link.substr(link.find('#') + 1));
        }
      }
    }
    for (const auto& [position, ids] : notes) {
      if (const auto page = pages_.find(position); page != pages_.end()) {
        page->second = read(page->second.member, ids);
      }
    }
  }

  /// Joins the pages. @return what is read aloud, without licences.
  std::vector<Block> join() {
    std::vector<Block> blocks;
    for (auto& [position, page] : pages_) {
      page.begin = blocks.size();
      if (!page.html.is_table_of_contents || pages_.size() == 1) {
        std::ranges::move(page.html.blocks, std::back_inserter(blocks));
      }
      page.end = blocks.size();
    }
    range_ = range_without_gutenberg_licence(blocks);
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(range_.last), blocks.end());
    blocks.erase(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(range_.first));
    return blocks;
  }

  /// The block at which @p point begins, of those that join() gave; none if there is no such place.
  [[nodiscard]] std::optional<std::size_t> find(const NavigationPoint& point) const {
    const auto position = order_.find(point.member);
    const auto page = position == order_.end() ? pages_.end() : pages_.find(position->second);
    if (page == pages_.end()) {
      return std::nullopt;
    }
    const auto anchor = page->second.html.anchors.find(point.fragment);
    const std::size_t inside = anchor == page->second.html.anchors.end() ? 0 : anchor->second;
    const std::size_t block = std::min(page->second.begin + inside, page->second.end);
    const bool is_outside = block < range_.first || block >= range_.last;
    return is_outside ? std::nullopt : std::optional(block - range_.first);
  }

  void report(Document& document) const {
    std::size_t code_blocks = 0;
    for (const auto& [position, page] : pages_) {
      std::ranges::copy(page.html.warnings, std::back_inserter(document.warnings));
      code_blocks += page.html.code_blocks;
    }
    if (code_blocks > 0) {
      document.warnings.push_back(code_warning(archive_.name(), code_blocks));
    }
  }
  [[nodiscard]] std::string language() const {
    const auto says = [](const auto& entry) { return !entry.second.html.language.empty(); };
    const auto found = std::ranges::find_if(pages_, says);
    return found == pages_.end() ? "" : found->second.html.language;
  }

private:
  struct Page {
    std::string member;
    HtmlPage html;
    std::size_t begin = 0; ///< among all blocks
    std::size_t end = 0;
  };

  Page read(const std::string& member, const NoteIds& notes = {}) {
    const std::string bytes = archive_.read(member, limits_.max_bytes);
    text_bytes_ += notes.empty() ? bytes.size() : 0;
    if (text_bytes_ > limits_.max_text_bytes) {
      throw DocumentError(archive_.name() + ": its pages have more than the limit of " +
                          std::to_string(limits_.max_text_bytes) + " bytes unpacked");
    }
    return {.member = member, .html = read_html_page(bytes, archive_.name() + ": " + member, limits_, notes)};
  }

  const ZipArchive& archive_;
  const DocumentLimits& limits_;
  std::unordered_map<std::string, std::size_t> order_; ///< page → place in the spine
  std::map<std::size_t, Page> pages_;                  ///< by place in the spine
  BookRange range_;
  std::size_t text_bytes_ = 0;
};

/// Reads the table of contents @p member; what is wrong with it becomes a warning.
template <typename Read>
Navigation read_contents(const ZipArchive& archive, const std::string& member, const DocumentLimits& limits, Read read,
                         Document& document) {
  if (member.empty()) {
    return {};
  }
  try {
    return read(archive.read(member, limits.max_bytes), member, archive.name() + ": " + member, limits);
  } catch (const DocumentError& error) {
    document.warnings.push_back(std::string(error.what()) + "; its table of contents was not used");
    return {};
  }
}

/// Where chapters begin: at the points of a table of contents that can be found, but for those that are sections of a
/// chapter: they are in the page of the point above, behind text that belongs to it, and it is not the only one.
class ChapterFinder {
public:
  ChapterFinder(const BookText& text, const std::vector<Block>& blocks) : text_(text), blocks_(blocks) {}

  std::vector<ChapterStart> find(const Navigation& navigation) {
    const bool is_alone = std::ranges::count(navigation.points, 0, &NavigationPoint::depth) == 1;
    std::vector<ChapterStart> starts;
    for (const NavigationPoint& point : navigation.points) {
      const auto block = text_.find(point);
      path_.resize(std::min<std::size_t>(path_.size(), static_cast<std::size_t>(point.depth)));
      if (!path_.empty() && !path_.back().has_sections) {
        path_.back().has_sections = has_sections(path_.back(), point, block) && !(is_alone && path_.size() == 1);
      }
      const bool is_section = !path_.empty() && *path_.back().has_sections;
      path_.push_back({&point, block, is_section ? std::optional(true) : std::nullopt});
      if (block && !is_section) {
        starts.push_back({*block, point.title});
      }
    }
    std::ranges::stable_sort(starts, {}, &ChapterStart::block);
    return starts;
  }

private:
  struct Above {
    const NavigationPoint* point = nullptr;
    std::optional<std::size_t> block;
    std::optional<bool> has_sections; ///< once its first point below was seen
  };

  [[nodiscard]] bool has_sections(const Above& above, const NavigationPoint& first,
                                  std::optional<std::size_t> block) const {
    if (above.point->member != first.member || !above.block || !block || *block < *above.block) {
      return false;
    }
    const auto begin = blocks_.begin() + static_cast<std::ptrdiff_t>(*above.block);
    return std::any_of(begin, blocks_.begin() + static_cast<std::ptrdiff_t>(*block),
                       [](const Block& b) { return b.paragraph.kind == ParagraphKind::body; });
  }

  const BookText& text_;
  const std::vector<Block>& blocks_;
  std::vector<Above> path_; ///< from the outermost point to the last one
};

void read_cover(const ZipArchive& archive, const std::string& member, const DocumentLimits& limits,
                Document& document) {
  if (member.empty()) {
    return;
  }
  try {
    take_cover(document, archive.read(member, limits.max_cover_bytes), member, limits);
  } catch (const DocumentError& error) {
    document.warnings.push_back(std::string("the cover was left out: ") + error.what());
  }
}

} // namespace

Document parse_epub(std::string_view bytes, std::string_view name, const DocumentLimits& limits) {
  const ZipArchive archive(bytes, std::string(name), limits);
  EpubPackage package = read_epub_package(archive, limits);
  Document document = std::move(package.about);
  Navigation navigation = read_contents(archive, package.navigation, limits, read_navigation_document, document);
  package.unread.merge(navigation.unread);
  const Navigation ncx = read_contents(archive, package.ncx, limits, read_ncx, document);

  BookText text(archive, package, limits);
  text.leave_out_notes();
  std::vector<Block> blocks = text.join();
  std::vector<ChapterStart> starts = ChapterFinder(text, blocks).find(navigation);
  starts = starts.empty() ? ChapterFinder(text, blocks).find(ncx) : std::move(starts);
  text.report(document);
  document.language = document.language.empty() ? text.language() : document.language;
  if (starts.empty()) {
    add_chapters_by_headings(document, std::move(blocks));
  } else {
    add_chapters_at(document, std::move(blocks), starts);
  }
  finish_chapters(document, name, bytes.size());
  read_cover(archive, package.cover, limits, document);
  return document;
}

} // namespace audiobookd::jobs
