// See chapter_selection.h.
#include "jobs/document/chapter_selection.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t most_ranges = 10'000;

std::string_view without_spaces(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

std::size_t parse_number(std::string_view text, std::string_view whole) {
  const std::string_view digits = without_spaces(text);
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number == 0) {
    throw std::invalid_argument(
        "\"" + std::string(whole) + "\" is not a list of chapters: \"" + std::string(digits) +
        "\" is not the number of a chapter; expected numbers from 1 and ranges, like \"1-3,7\"");
  }
  return number;
}

ChapterRange parse_range(std::string_view text, std::string_view whole) {
  const std::size_t dash = text.find('-');
  ChapterRange range;
  range.first = parse_number(text.substr(0, dash), whole);
  const bool is_open = dash != std::string_view::npos && without_spaces(text.substr(dash + 1)).empty();
  if (!is_open) {
    range.last = dash == std::string_view::npos ? range.first : parse_number(text.substr(dash + 1), whole);
  }
  if (range.last < range.first) {
    throw std::invalid_argument("\"" + std::string(whole) + "\" is not a list of chapters: the range " +
                                std::to_string(range.first) + "-" + std::to_string(range.last) +
                                " ends before it begins");
  }
  return range;
}

std::string count_of(std::size_t chapters) {
  return std::to_string(chapters) + (chapters == 1 ? " chapter" : " chapters");
}

} // namespace

std::vector<ChapterRange> parse_chapter_ranges(std::string_view text) {
  if (static_cast<std::size_t>(std::ranges::count(text, ',')) >= most_ranges) {
    throw std::invalid_argument("a list of more than " + std::to_string(most_ranges) + " chapters and ranges");
  }
  std::vector<ChapterRange> ranges;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    ranges.push_back(parse_range(rest.substr(0, comma), text));
    if (comma == std::string_view::npos) {
      return ranges;
    }
    rest.remove_prefix(comma + 1);
  }
}

std::string chapter_title(const Document& document, std::size_t index) {
  const std::string& title = document.chapters.at(index).title;
  if (!title.empty()) {
    return title;
  }
  return index == 0 && !document.title.empty() ? document.title : "Chapter " + std::to_string(index + 1);
}

void select_chapters(Document& document, const std::vector<ChapterRange>& ranges) {
  if (ranges.empty()) {
    return;
  }
  const std::size_t count = document.chapters.size();
  std::vector<bool> is_wanted(count, false);
  for (const ChapterRange& range : ranges) {
    const bool is_open = range.last == ChapterRange::end_of_book;
    if (range.first > count || (!is_open && range.last > count)) {
      throw DocumentError("chapters: " + std::to_string(range.first > count ? range.first : range.last) +
                          " does not exist, the book has " + count_of(count));
    }
    std::fill(is_wanted.begin() + static_cast<std::ptrdiff_t>(range.first - 1),
              is_wanted.begin() + static_cast<std::ptrdiff_t>(std::min(range.last, count)), true);
  }
  std::vector<Chapter> chapters;
  for (std::size_t index = 0; index < count; ++index) {
    if (is_wanted[index]) {
      std::string title = chapter_title(document, index);
      chapters.push_back(std::move(document.chapters[index]));
      chapters.back().title = std::move(title);
    }
  }
  document.chapters = std::move(chapters);
}

} // namespace audiobookd::jobs
