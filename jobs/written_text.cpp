// Words are aligned by the fewest insertions and deletions, in windows that move along with the stretches.
#include "jobs/written_text.h"

#include "jobs/utf8.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// Words of the next stretch that take part in finding out where one ends.
constexpr std::size_t words_ahead = 24;
/// How many written words without match are as bad as one that is said: at the end of a window some are to be expected.
constexpr int spoken_cost = 2;
/// Written words that are looked at: some more than are said, for what is left out when it is said.
constexpr std::size_t spare_words = 48;

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t begin = text.find_first_not_of(' '); begin != std::string_view::npos;) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(' ', end);
  }
  return words;
}

/// Letters and digits alone, in small letters.
std::string plain(std::string_view word) {
  std::string letters;
  for_each_code_point(word, [&](UChar32 c, std::size_t, std::size_t) {
    if (u_isalnum(c)) {
      append_code_point(letters, u_tolower(c));
    }
  });
  return letters;
}

std::vector<std::string> plain(const std::vector<std::string_view>& words) {
  std::vector<std::string> result;
  std::ranges::transform(words, std::back_inserter(result), [](std::string_view word) { return plain(word); });
  return result;
}

using Words = std::span<const std::string>;

/// A word of the one that is a word of the other.
struct Match {
  std::size_t written = 0;
  std::size_t spoken = 0;
};

/// With the fewest words of both between the matches; @p written may go on behind the last one.
std::vector<Match> match(Words written, Words spoken) {
  const std::size_t columns = spoken.size() + 1;
  const auto is_match = [&](std::size_t w, std::size_t s) { return !written[w].empty() && written[w] == spoken[s]; };
  std::vector<std::uint16_t> skipped((written.size() + 1) * columns); // from here on
  for (std::size_t s = 0; s < spoken.size(); ++s) {
    skipped[written.size() * columns + s] = static_cast<std::uint16_t>(spoken_cost * (spoken.size() - s));
  }
  for (std::size_t w = written.size(); w-- > 0;) {
    for (std::size_t s = spoken.size(); s-- > 0;) {
      const int least = std::min(skipped[(w + 1) * columns + s] + 1, skipped[w * columns + s + 1] + spoken_cost);
      skipped[w * columns + s] =
          is_match(w, s) ? skipped[(w + 1) * columns + s + 1] : static_cast<std::uint16_t>(least);
    }
  }
  std::vector<Match> matches;
  for (std::size_t w = 0, s = 0; w < written.size() && s < spoken.size();) {
    if (is_match(w, s)) {
      matches.push_back({w++, s++});
    } else if (skipped[(w + 1) * columns + s] + 1 <= skipped[w * columns + s + 1] + spoken_cost) {
      ++w;
    } else {
      ++s;
    }
  }
  return matches;
}

/// How many written words are said before a boundary: at least, at most, and in proportion.
struct Estimate {
  std::size_t least = 0;
  std::size_t most = 0;
  std::size_t likely = 0;
};

/// Of @p written, how many are said by the first @p boundary of @p spoken.
Estimate words_before(std::size_t boundary, Words written, Words spoken) {
  Match before; // one behind the last match before the boundary
  Match after{written.size(), spoken.size()};
  for (const Match& found : match(written, spoken)) {
    if (found.spoken < boundary) {
      before = {found.written + 1, found.spoken + 1};
    } else {
      after = found;
      break;
    }
  }
  const std::size_t said = after.spoken - before.spoken;
  const std::size_t left = after.written - before.written;
  if (said == 0) { // what is not said stays with what is before it
    return {after.written, after.written, after.written};
  }
  const std::size_t part = (left * (boundary - before.spoken) + said / 2) / said;
  return {before.written, after.written, before.written + part};
}

/// The punctuation at the end of @p text, in front of closing quotes and brackets; 0 when there is none.
char punctuation_of(std::string_view text) {
  constexpr std::size_t longest_closing = 4; // bytes
  const std::size_t place = text.find_last_of(".,;:!?");
  const bool is_at_end = place != std::string_view::npos && text.size() - place <= 1 + longest_closing &&
                         std::none_of(text.begin() + static_cast<std::ptrdiff_t>(place), text.end(),
                                      [](unsigned char c) { return std::isalnum(c) != 0; });
  return is_at_end ? text[place] : '\0';
}

/// The place within @p estimate, which counts from @p words, where a stretch that ends with @p punctuation may end.
std::size_t refine(const Estimate& estimate, std::span<const std::string_view> words, char punctuation) {
  std::size_t best = estimate.likely;
  std::size_t distance = words.size() + 1;
  for (std::size_t end = std::max<std::size_t>(estimate.least, 1); punctuation != '\0' && end <= estimate.most; ++end) {
    const std::size_t away = end > estimate.likely ? end - estimate.likely : estimate.likely - end;
    if (away < distance && punctuation_of(words[end - 1]) == punctuation) {
      best = end;
      distance = away;
    }
  }
  return best;
}

std::string join(std::span<const std::string_view> words) {
  std::string text;
  for (const std::string_view word : words) {
    text += (text.empty() ? "" : " ") + std::string(word);
  }
  return text;
}

} // namespace

std::vector<std::string> written_parts(std::string_view written, std::span<const std::string> spoken) {
  const std::vector<std::string_view> words = words_of(written);
  const std::vector<std::string> plain_words = plain(words);
  std::vector<std::string> said;
  std::vector<std::size_t> ends; // of the stretches, in words said
  for (const std::string& stretch : spoken) {
    const std::vector<std::string> more = plain(words_of(stretch));
    said.insert(said.end(), more.begin(), more.end());
    ends.push_back(said.size());
  }
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t i = 0, said_before = 0; i < spoken.size(); said_before = ends[i++]) {
    const std::size_t stretches_left = spoken.size() - i - 1;
    std::size_t end = words.size();
    if (stretches_left > 0) {
      const std::size_t own = ends[i] - said_before;
      const Words heard = Words(said).subspan(said_before, std::min(own + words_ahead, said.size() - said_before));
      const Words seen =
          Words(plain_words).subspan(begin, std::min(heard.size() + spare_words, plain_words.size() - begin));
      end = begin + refine(words_before(own, seen, heard), std::span(words).subspan(begin), punctuation_of(spoken[i]));
      end = std::clamp(end, std::min(begin + 1, words.size()), words.size());
      end = std::max(std::min(end, words.size() - std::min(stretches_left, words.size())), begin);
    }
    parts.push_back(join(std::span(words).subspan(begin, end - begin)));
    begin = end;
  }
  return parts;
}

} // namespace audiobookd::jobs
