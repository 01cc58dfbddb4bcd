// A trie over folded characters: an entry is found in the time that it takes to read it.
#include "jobs/spoken_text/dictionary.h"

#include "jobs/spoken_text/characters.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <unicode/uchar.h>

namespace audiobookd::jobs {
namespace {

bool is_apostrophe(UChar32 c) { return c == '\'' || c == 0x2019; }

/// What counts when an entry is compared with a text, but for the case of letters.
UChar32 without_style(UChar32 c) { return u_isUWhiteSpace(c) ? ' ' : is_apostrophe(c) ? '\'' : c; }

char32_t folded(UChar32 c) { return static_cast<char32_t>(u_foldCase(without_style(c), U_FOLD_CASE_DEFAULT)); }

bool is_word_character(UChar32 c) {
  return u_isalnum(c) || u_charType(c) == U_NON_SPACING_MARK || u_charType(c) == U_COMBINING_SPACING_MARK;
}

/// Whether a word may begin or end between two characters; 0 is an edge of the text.
bool is_boundary(UChar32 before, UChar32 after) { return !is_word_character(before) || !is_word_character(after); }

bool has_capital(std::string_view text) {
  bool found = false;
  for_each_code_point(text,
                      [&](UChar32 c, std::size_t, std::size_t) { found = found || u_isupper(c) || u_istitle(c); });
  return found;
}

bool same_but_style(std::string_view written, std::string_view text) {
  std::u32string left;
  std::u32string right;
  for_each_code_point(written, [&](UChar32 c, std::size_t, std::size_t) { left += char32_t(without_style(c)); });
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) { right += char32_t(without_style(c)); });
  return left == right;
}

std::string capitalised(const std::string& spoken) {
  std::string result;
  append_code_point(result, u_totitle(first_code_point(spoken)));
  return result.append(without_first_code_point(spoken));
}

bool is_blank(std::string_view text) {
  bool blank = true;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) { blank = blank && u_isUWhiteSpace(c); });
  return blank;
}

} // namespace

std::optional<std::string> complaint_about(std::string_view written, std::string_view spoken) {
  if (is_blank(plain_characters(written, false))) {
    return "the written word is empty";
  }
  if (written.size() > max_written_bytes) {
    return "the written word has " + std::to_string(written.size()) + " bytes, at most " +
           std::to_string(max_written_bytes) + " are allowed";
  }
  if (spoken.size() > max_spoken_bytes) {
    return "the spoken text has " + std::to_string(spoken.size()) + " bytes, at most " +
           std::to_string(max_spoken_bytes) + " are allowed";
  }
  bool has_control = false;
  for (const std::string_view text : {written, spoken}) {
    for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) { has_control = has_control || u_iscntrl(c); });
  }
  return has_control ? std::optional<std::string>("it contains a line break or another control character")
                     : std::nullopt;
}

Dictionary::Dictionary(const std::vector<Words>& layers) {
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    for (const auto& [written, spoken] : layers[layer]) {
      add(plain_characters(written, false), spoken, layer);
    }
  }
  const auto is_better = [](const Entry& a, const Entry& b) {
    return a.layer != b.layer ? a.layer > b.layer : !a.any_case && b.any_case;
  };
  for (Node& node : nodes_) {
    std::stable_sort(node.entries.begin(), node.entries.end(), is_better);
  }
}

void Dictionary::add(std::string written, const std::string& spoken, std::size_t layer) {
  if (nodes_.empty()) {
    nodes_.emplace_back();
  }
  std::size_t at = 0;
  for_each_code_point(written, [&](UChar32 c, std::size_t, std::size_t) {
    const auto [edge, is_new] = nodes_[at].next.emplace(folded(c), nodes_.size());
    at = edge->second; // before the nodes move
    if (is_new) {
      nodes_.emplace_back();
    }
  });
  const bool any_case = !has_capital(written);
  nodes_[at].entries.push_back({std::move(written), spoken, layer, any_case});
}

std::optional<DictionaryMatch> Dictionary::longest_at(std::string_view text, std::size_t begin) const {
  std::optional<DictionaryMatch> found;
  std::size_t node = 0;
  std::size_t end = begin;
  while (end < text.size()) {
    const std::string_view rest = text.substr(end);
    const auto edge = nodes_[node].next.find(folded(first_code_point(rest)));
    if (edge == nodes_[node].next.end()) {
      break;
    }
    node = edge->second;
    end = text.size() - without_first_code_point(rest).size();
    const std::string_view taken = text.substr(begin, end - begin);
    if (!is_boundary(last_code_point(taken), first_code_point(text.substr(end)))) {
      continue;
    }
    const auto& entries = nodes_[node].entries;
    const auto entry = std::find_if(entries.begin(), entries.end(), [&](const Entry& candidate) {
      return candidate.any_case || same_but_style(candidate.written, taken);
    });
    if (entry != entries.end()) {
      const bool raise = entry->any_case && u_isupper(first_code_point(taken)) != 0;
      found = {begin, end, raise ? capitalised(entry->spoken) : entry->spoken};
    }
  }
  return found;
}

std::vector<DictionaryMatch> Dictionary::find(std::string_view text) const {
  std::vector<DictionaryMatch> matches;
  UChar32 before = 0;
  std::size_t next = 0; // behind the last match
  for_each_code_point(nodes_.empty() ? std::string_view() : text, [&](UChar32 c, std::size_t begin, std::size_t) {
    if (begin >= next && is_boundary(before, c)) {
      if (auto match = longest_at(text, begin)) {
        next = match->end;
        matches.push_back(std::move(*match));
      }
    }
    before = c;
  });
  return matches;
}

} // namespace audiobookd::jobs
