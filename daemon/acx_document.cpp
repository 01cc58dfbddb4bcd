// See acx_document.h.
#include "daemon/acx_document.h"

#include "jobs/document/chapter_selection.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

namespace audiobookd::daemon {
namespace {

using jobs::ParagraphKind;

/// A paragraph for each line.
jobs::Chapter chapter_of(const std::string& title, const std::string& text) {
  jobs::Chapter chapter{.title = title, .paragraphs = {}};
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string paragraph;
    for (std::string word; words >> word;) {
      paragraph += (paragraph.empty() ? "" : " ") + word;
    }
    if (!paragraph.empty()) {
      chapter.paragraphs.push_back({.text = paragraph});
    }
  }
  if (chapter.paragraphs.empty()) {
    throw jobs::DocumentError(title + ": nothing is left of the text, because no name in it is known; give the book a "
                                      "title and an author, or write another text");
  }
  return chapter;
}

/// How long each paragraph is, with the pause after it.
std::vector<double> lengths_of(const jobs::Chapter& chapter, const LengthOf& length_of, const jobs::Pauses& pauses) {
  std::vector<double> lengths;
  for (const jobs::Paragraph& paragraph : chapter.paragraphs) {
    lengths.push_back(paragraph.kind == ParagraphKind::scene_break ? pauses.scene_s
                                                                   : length_of(paragraph.text) + pauses.paragraph_s);
  }
  return lengths;
}

/// Whether a part may end before paragraph @p i: not between a heading and what it stands above.
bool may_end(const jobs::Chapter& chapter, std::size_t i) {
  return i > 0 && chapter.paragraphs[i - 1].kind != ParagraphKind::heading &&
         chapter.paragraphs[i].kind != ParagraphKind::scene_break;
}

bool scene_ends(const jobs::Chapter& chapter, std::size_t i) {
  return chapter.paragraphs[i - 1].kind == ParagraphKind::scene_break;
}

/// Where the part that begins with paragraph @p begin ends: behind its last paragraph.
std::size_t end_of_part(const jobs::Chapter& chapter, const std::vector<double>& lengths, std::size_t begin,
                        double most_s) {
  double rest = 0;
  for (std::size_t i = begin; i < lengths.size(); ++i) {
    rest += lengths[i];
  }
  if (rest <= most_s) {
    return lengths.size();
  }
  constexpr double worth_of_scene = 0.2; // of a part: so much further away a scene's end may be
  const double aim = rest / std::ceil(rest / most_s);
  std::size_t best = lengths.size();
  double least = INFINITY;
  double length = 0;
  for (std::size_t i = begin; i < lengths.size(); length += lengths[i], ++i) {
    if (i == begin || !may_end(chapter, i) || (length > most_s && std::isfinite(least))) {
      continue;
    }
    const double cost = std::abs(length - aim) - (scene_ends(chapter, i) ? worth_of_scene * aim : 0);
    if (cost < least) {
      least = cost;
      best = i;
    }
  }
  return best;
}

std::vector<jobs::Chapter> divide(const jobs::Chapter& chapter, const std::vector<double>& lengths, double most_s) {
  std::vector<jobs::Chapter> parts;
  for (std::size_t begin = 0, end = 0; begin < lengths.size(); begin = end) {
    end = end_of_part(chapter, lengths, begin, most_s);
    jobs::Chapter& part = parts.emplace_back();
    part.title = chapter.title + ", part " + std::to_string(parts.size());
    if (parts.size() > 1) {
      part.paragraphs.push_back({.text = part.title, .kind = ParagraphKind::heading});
    }
    part.paragraphs.insert(part.paragraphs.end(), chapter.paragraphs.begin() + static_cast<std::ptrdiff_t>(begin),
                           chapter.paragraphs.begin() + static_cast<std::ptrdiff_t>(end));
  }
  if (parts.size() == 1) {
    return {chapter};
  }
  return parts;
}

void name_chapters(jobs::Document& document) {
  for (std::size_t i = 0; i < document.chapters.size(); ++i) {
    document.chapters[i].title = jobs::chapter_title(document, i);
  }
}

} // namespace

jobs::Document with_credits(const jobs::Document& document, const AcxCredits& credits, const jobs::CreditNames& names) {
  jobs::Document book = document;
  name_chapters(book);
  book.chapters.insert(book.chapters.begin(),
                       chapter_of("Opening Credits", jobs::expand_credits(credits.opening, names)));
  book.chapters.push_back(chapter_of("Closing Credits", jobs::expand_credits(credits.closing, names)));
  if (names.author.empty()) {
    book.warnings.emplace_back("the author is not known, so that the credits do not name one, as ACX asks them to");
  }
  return book;
}

jobs::Document in_parts(const jobs::Document& document, const LengthOf& length_of, const jobs::Pauses& pauses,
                        double most_s) {
  jobs::Document book = document;
  name_chapters(book);
  std::vector<jobs::Chapter> chapters;
  for (const jobs::Chapter& chapter : std::exchange(book.chapters, {})) {
    std::vector<jobs::Chapter> parts = divide(chapter, lengths_of(chapter, length_of, pauses), most_s);
    std::ranges::move(parts, std::back_inserter(chapters));
  }
  book.chapters = std::move(chapters);
  return book;
}

} // namespace audiobookd::daemon
