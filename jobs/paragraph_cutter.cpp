// Cuts one paragraph into chunks. Pure functions: any thread.
//
// A paragraph is cut like Knuth and Plass break lines: every place where it may be cut has a price, every chunk has a
// price by how full it is, and dynamic programming finds the cheapest way. Coarse places are tried alone first, so that
// finer ones (commas, spaces) come into play only in paragraphs that need them.
#include "jobs/paragraph_cutter.h"

#include "jobs/text_breaks.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <unicode/uchar.h>

namespace audiobookd::jobs {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The price of one chunk too short, higher than any sum of the others in a paragraph's neighbourhood.
constexpr double short_chunk_price = 100.0;

/// What a cut costs, where a chunk more or less costs about 1.
double price(BreakRank rank) {
  switch (rank) {
  case BreakRank::sentences: return 0.0;
  case BreakRank::quoted_sentences: return 0.3;
  case BreakRank::clauses: return 0.6;
  case BreakRank::commas: return 1.0;
  case BreakRank::conjunctions: return 1.5;
  case BreakRank::words: return 3.0;
  case BreakRank::characters: return 6.0;
  }
  throw std::logic_error("unknown BreakRank");
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && u_isUWhiteSpace(last_code_point(text))) {
    text = without_last_code_point(text);
  }
  while (!text.empty() && u_isUWhiteSpace(first_code_point(text))) {
    text = without_first_code_point(text);
  }
  return text;
}

/// One way to cut a paragraph.
struct Cuts {
  std::vector<std::size_t> ends; ///< in bytes, of each chunk
  int num_short = 0;
};

/// Cuts one paragraph.
class ParagraphCutter {
public:
  ParagraphCutter(std::string_view paragraph, const ChunkerOptions& options)
      : paragraph_(paragraph), options_(options) {}

  std::vector<std::string_view> cut() {
    const std::string_view whole = trimmed(paragraph_);
    if (whole.empty() || fits(0, paragraph_.size())) {
      return whole.empty() ? std::vector<std::string_view>{} : std::vector{whole};
    }
    breaks_ = find_breaks(paragraph_);
    add_breaks_inside_words();
    std::optional<Cuts> best;
    for (int rank = 0; rank <= static_cast<int>(BreakRank::characters) && (!best || best->num_short > 0); ++rank) {
      std::optional<Cuts> cuts = cheapest_cuts(static_cast<BreakRank>(rank));
      if (cuts && (!best || cuts->num_short < best->num_short)) {
        best = std::move(cuts);
      }
    }
    return pieces(best.value());
  }

private:
  [[nodiscard]] std::string_view slice(std::size_t begin, std::size_t end) const {
    return trimmed(paragraph_.substr(begin, end - begin));
  }
  [[nodiscard]] bool fits(std::size_t begin, std::size_t end) const {
    return options_.predict_tokens(slice(begin, end)) <= options_.max_tokens;
  }
  [[nodiscard]] bool is_short(std::size_t begin, std::size_t end) const {
    return count_characters(slice(begin, end)) < static_cast<std::size_t>(std::max(0, options_.min_characters));
  }

  /// Makes every stretch between two breaks fit, by breaks inside words that do not fit alone.
  void add_breaks_inside_words() {
    std::vector<Break> all;
    std::size_t begin = 0;
    const auto cover = [&](std::size_t end) {
      if (!fits(begin, end)) {
        cut_word(begin, end, all);
      }
      begin = end;
    };
    for (const Break& place : breaks_) {
      cover(place.offset);
      all.push_back(place);
    }
    cover(paragraph_.size());
    breaks_ = std::move(all);
  }

  /// Cuts [begin, end) between graphemes, every piece as long as possible.
  void cut_word(std::size_t begin, std::size_t end, std::vector<Break>& cuts) const {
    const std::size_t origin = begin;
    std::vector<std::size_t> ends = find_grapheme_breaks(paragraph_.substr(begin, end - begin));
    ends.push_back(end - begin);
    std::size_t last = begin;
    for (const std::size_t relative : ends) {
      const std::size_t at = origin + relative;
      if (!fits(begin, at) && last > begin) {
        cuts.push_back({last, BreakRank::characters});
        begin = last;
      }
      if (!fits(begin, at)) {
        begin = cut_grapheme(begin, at, cuts);
      }
      last = at;
    }
  }

  /// Cuts a grapheme that does not fit (a letter under a heap of accents) between code points.
  /// @return where its last piece begins.
  std::size_t cut_grapheme(std::size_t begin, std::size_t end, std::vector<Break>& cuts) const {
    std::size_t last = begin;
    const std::size_t origin = begin;
    for_each_code_point(paragraph_.substr(begin, end - begin), [&](UChar32, std::size_t, std::size_t code_point_end) {
      const std::size_t at = origin + code_point_end;
      if (!fits(begin, at) && last > begin) {
        cuts.push_back({last, BreakRank::characters});
        begin = last;
      }
      if (!fits(begin, at)) {
        throw std::invalid_argument("max_tokens " + std::to_string(options_.max_tokens) +
                                    " is too small: one character (" + std::string(slice(begin, at)) +
                                    ") is predicted to take " +
                                    std::to_string(options_.predict_tokens(slice(begin, at))));
      }
      last = at;
    });
    return begin;
  }

  /// The cheapest cuts at breaks up to @p finest; none if some stretch between them does not fit.
  [[nodiscard]] std::optional<Cuts> cheapest_cuts(BreakRank finest) const {
    std::vector<Break> places = {{0, BreakRank::sentences}};
    std::copy_if(breaks_.begin(), breaks_.end(), std::back_inserter(places),
                 [&](const Break& place) { return place.rank <= finest; });
    places.push_back({paragraph_.size(), BreakRank::sentences});

    std::vector<double> cost(places.size(), infinity); // of everything up to a place
    std::vector<std::size_t> from(places.size(), 0);   // where the last chunk up to it begins
    cost[0] = 0.0;
    for (std::size_t i = 0; i + 1 < places.size(); ++i) {
      for (std::size_t j = i + 1; j < places.size() && cost[i] < infinity; ++j) {
        const double chunk_cost = price_of_chunk(places[i].offset, places[j]);
        if (chunk_cost == infinity) {
          break; // a longer one does not fit either
        }
        if (cost[i] + chunk_cost < cost[j]) {
          cost[j] = cost[i] + chunk_cost;
          from[j] = i;
        }
      }
    }
    return cost.back() < infinity ? std::optional(trace_back(places, from)) : std::nullopt;
  }

  /// The price of a chunk that begins at @p begin and ends with a cut at @p end; infinite if it does not fit.
  [[nodiscard]] double price_of_chunk(std::size_t begin, const Break& end) const {
    const int tokens = options_.predict_tokens(slice(begin, end.offset));
    if (tokens > options_.max_tokens) {
      return infinity;
    }
    // The square of the load makes evenly filled chunks cheaper than a full and an almost empty one.
    const double load = static_cast<double>(tokens) / options_.max_tokens;
    return 1.0 + load * load + price(end.rank) + (is_short(begin, end.offset) ? short_chunk_price : 0.0);
  }

  [[nodiscard]] Cuts trace_back(const std::vector<Break>& places, const std::vector<std::size_t>& from) const {
    Cuts cuts;
    for (std::size_t at = places.size() - 1; at > 0; at = from[at]) {
      cuts.ends.push_back(places[at].offset);
      cuts.num_short += is_short(places[from[at]].offset, places[at].offset) ? 1 : 0;
    }
    std::reverse(cuts.ends.begin(), cuts.ends.end());
    return cuts;
  }

  [[nodiscard]] std::vector<std::string_view> pieces(const Cuts& cuts) const {
    std::vector<std::string_view> result;
    std::size_t begin = 0;
    for (const std::size_t end : cuts.ends) {
      result.push_back(slice(begin, end));
      begin = end;
    }
    return result;
  }

  std::string_view paragraph_;
  const ChunkerOptions& options_;
  std::vector<Break> breaks_; ///< in order, without the edges
};

} // namespace

std::vector<std::string_view> cut_paragraph(std::string_view paragraph, const ChunkerOptions& options) {
  return ParagraphCutter(paragraph, options).cut();
}

std::string_view first_sentence(std::string_view paragraph, const ChunkerOptions& options) {
  const auto is_long_enough = [&options](std::string_view part) {
    return count_characters(trimmed(part)) >= static_cast<std::size_t>(std::max(1, options.min_characters));
  };
  for (const Break& place : find_breaks(paragraph)) {
    const bool is_sentence = place.rank == BreakRank::sentences || place.rank == BreakRank::quoted_sentences;
    if (is_sentence && is_long_enough(paragraph.substr(0, place.offset)) &&
        is_long_enough(paragraph.substr(place.offset))) {
      return paragraph.substr(0, place.offset);
    }
  }
  return paragraph;
}

} // namespace audiobookd::jobs
