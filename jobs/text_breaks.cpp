// Where a paragraph may be cut. Pure functions: any thread.
#include "jobs/text_breaks.h"

#include "jobs/utf8.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>

namespace audiobookd::jobs {
namespace {

using namespace std::string_view_literals;

/// Titles and the like, which stand before a name and never end a sentence.
constexpr std::array titles = {"Adm"sv, "Capt"sv, "Cmdr"sv, "Col"sv,  "Dr"sv,  "Fr"sv,    "Gen"sv, "Gov"sv,
                               "Hon"sv, "Lt"sv,   "Maj"sv,  "Mlle"sv, "Mme"sv, "Mr"sv,    "Mrs"sv, "Ms"sv,
                               "Mt"sv,  "Mx"sv,   "Prof"sv, "Rep"sv,  "Rev"sv, "Sen"sv,   "Sgt"sv, "St"sv,
                               "Ste"sv, "Supt"sv, "cf"sv,   "viz"sv,  "vs"sv,  "Messrs"sv};
/// What is an abbreviation only before a number.
constexpr std::array numbered = {"No"sv,  "Nos"sv, "no"sv, "nos"sv, "p"sv,   "pp"sv,  "vol"sv,
                                 "Vol"sv, "ch"sv,  "Ch"sv, "fig"sv, "Fig"sv, "art"sv, "Art"sv};
constexpr std::array conjunctions = {"although"sv, "and"sv,   "because"sv, "but"sv,   "nor"sv,   "or"sv,    "though"sv,
                                     "unless"sv,   "until"sv, "when"sv,    "where"sv, "which"sv, "while"sv, "who"sv};

constexpr std::u32string_view openers = U"\"'“‘«([{";
constexpr std::u32string_view closers = U"\"'”’»)]}";
/// A line must not begin with these: nothing is cut before them.
constexpr std::u32string_view trailers = U".,;:!?…”»)]}";
constexpr std::u32string_view clause_ends = U";:—–；：";
constexpr std::u32string_view comma_marks = U",，、";
/// Behind these a text may be cut without a space.
constexpr std::u32string_view spaceless_marks = U"—。！？；，、";

bool is_in(UChar32 code_point, std::u32string_view set) {
  return set.find(static_cast<char32_t>(code_point)) != std::u32string_view::npos;
}

template <std::size_t N>
bool is_in(std::string_view word, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::string_view without_white_space_at_end(std::string_view text) {
  while (!text.empty() && u_isUWhiteSpace(last_code_point(text))) {
    text = without_last_code_point(text);
  }
  return text;
}

std::string_view without_closers(std::string_view text) {
  while (!text.empty() && is_in(last_code_point(text), closers)) {
    text = without_last_code_point(text);
  }
  return text;
}

std::string_view without_openers(std::string_view text) {
  while (!text.empty() && is_in(first_code_point(text), openers)) {
    text = without_first_code_point(text);
  }
  return text;
}

/// The last word of @p text with its punctuation, but without opening brackets and quotation marks. At most
/// longest_abbreviation characters of it: a text of a million dashes must not be searched a million times.
std::string_view last_word(std::string_view text) {
  constexpr int longest_abbreviation = 16;
  std::string_view rest = text;
  for (int i = 0; i < longest_abbreviation && !rest.empty() && !u_isUWhiteSpace(last_code_point(rest)); ++i) {
    rest = without_last_code_point(rest);
  }
  return without_openers(text.substr(rest.size()));
}

std::string_view first_letters(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty() && u_isalpha(first_code_point(rest))) {
    rest = without_first_code_point(rest);
  }
  return text.substr(0, text.size() - rest.size());
}

bool ends_with_ellipsis(std::string_view text) {
  return text.ends_with("…") || text.ends_with("..") || text.ends_with(". .");
}

/// "J.", "e.g.", "U.S.A.": single letters, each with its full stop.
bool is_dotted(std::string_view word) {
  while (count_characters(word) >= 2 && u_isalpha(first_code_point(word))) {
    word = without_first_code_point(word);
    if (word.front() != '.') {
      return false;
    }
    word.remove_prefix(1);
  }
  return word.empty();
}

/// Whether @p word, the last one before @p after, belongs to what follows it: "Mr." Smith, "J." Smith, "No." 5.
bool leans_on_next(std::string_view word, std::string_view after) {
  if (!word.ends_with('.')) {
    return false;
  }
  const std::string_view stem = word.substr(0, word.size() - 1);
  const bool initial = count_characters(stem) == 1 && u_isupper(first_code_point(stem));
  return initial || is_in(stem, titles) || (is_in(stem, numbered) && u_isdigit(first_code_point(after)));
}

/// Follows quotation marks through a paragraph. A ’ within a word is an apostrophe.
class QuoteTracker {
public:
  /// @param before, after the neighbours of @p mark; 0 at the edges.
  void pass(UChar32 before, UChar32 mark, UChar32 after) {
    switch (mark) {
    case U'“':
    case U'«': double_ = true; break;
    case U'”':
    case U'»': double_ = false; break;
    case U'"':
      double_ = (before == 0 || u_isUWhiteSpace(before) || is_in(before, U"([—‘")) && !u_isUWhiteSpace(after);
      break;
    case U'‘': single_ = true; break;
    case U'’': single_ = single_ && u_isalpha(after); break;
    default: break;
    }
  }
  [[nodiscard]] bool inside() const { return double_ || single_; }

private:
  bool double_ = false;
  bool single_ = false;
};

using IcuIterator = std::unique_ptr<icu::BreakIterator>;
using IcuFactory = icu::BreakIterator* (*)(const icu::Locale&, UErrorCode&);

void check(UErrorCode status) {
  if (U_FAILURE(status)) {
    throw std::runtime_error(std::string("ICU cannot find text boundaries: ") + u_errorName(status));
  }
}

/// The boundaries of @p text after its beginning, its end included, as offsets in bytes.
std::vector<std::size_t> icu_boundaries(std::string_view text, IcuFactory factory) {
  UErrorCode status = U_ZERO_ERROR;
  const IcuIterator iterator(factory(icu::Locale::getEnglish(), status));
  check(status);
  const icu::LocalUTextPointer utext(
      utext_openUTF8(nullptr, text.data(), static_cast<std::int64_t>(text.size()), &status));
  iterator->setText(utext.getAlias(), status);
  check(status);
  std::vector<std::size_t> boundaries;
  iterator->first();
  for (auto at = iterator->next(); at != icu::BreakIterator::DONE; at = iterator->next()) {
    boundaries.push_back(static_cast<std::size_t>(at));
  }
  return boundaries;
}

/// Whether a sentence ends with @p before, although ICU says so.
bool ends_sentence(std::string_view before, std::string_view after) {
  return !u_islower(first_code_point(without_openers(after))) && !is_dotted(last_word(before));
}

/// How good a cut between @p before, without white space at its end, and @p after is; none where one must not be cut.
std::optional<BreakRank> rank_cut(std::string_view before, std::string_view after, bool is_icu_sentence,
                                  bool is_quoted) {
  if (is_in(first_code_point(after), trailers) || leans_on_next(last_word(before), after)) {
    return std::nullopt;
  }
  const std::string_view core = without_closers(before);
  const bool is_ellipsis = ends_with_ellipsis(core);
  if (is_icu_sentence && ends_sentence(before, after)) {
    return is_quoted || is_ellipsis ? BreakRank::quoted_sentences : BreakRank::sentences;
  }
  const UChar32 last = last_code_point(core);
  if (is_ellipsis || is_in(last, clause_ends) || core.ends_with("--") || core.ends_with(" -")) {
    return BreakRank::clauses;
  }
  if (is_in(last, comma_marks)) {
    return BreakRank::commas;
  }
  return is_in(first_letters(after), conjunctions) ? BreakRank::conjunctions : BreakRank::words;
}

/// Whether a text may be cut between @p before and @p after, which is no white space.
bool separates(UChar32 before, UChar32 after) {
  return u_isUWhiteSpace(before) || (is_in(before, spaceless_marks) && !is_in(after, spaceless_marks));
}

} // namespace

std::vector<Break> find_breaks(std::string_view paragraph) {
  const std::vector<std::size_t> sentences = icu_boundaries(paragraph, &icu::BreakIterator::createSentenceInstance);
  auto sentence = sentences.begin();
  std::vector<Break> breaks;
  QuoteTracker quotes;
  UChar32 previous = 0;
  for_each_code_point(paragraph, [&](UChar32 code_point, std::size_t begin, std::size_t end) {
    if (begin > 0 && !u_isUWhiteSpace(code_point) && separates(previous, code_point)) {
      sentence = std::find_if(sentence, sentences.end(), [&](std::size_t at) { return at >= begin; });
      const bool is_icu_sentence = sentence != sentences.end() && *sentence == begin;
      const auto rank = rank_cut(without_white_space_at_end(paragraph.substr(0, begin)), paragraph.substr(begin),
                                 is_icu_sentence, quotes.inside());
      if (rank) {
        breaks.push_back({begin, *rank});
      }
    }
    quotes.pass(previous, code_point, first_code_point(paragraph.substr(end)));
    previous = code_point;
  });
  return breaks;
}

std::vector<std::size_t> find_grapheme_breaks(std::string_view word) {
  std::vector<std::size_t> breaks = icu_boundaries(word, &icu::BreakIterator::createCharacterInstance);
  if (!breaks.empty()) {
    breaks.pop_back();
  }
  return breaks;
}

} // namespace audiobookd::jobs
