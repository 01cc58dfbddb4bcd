// Encoding text with a BPE vocabulary. See the header for threading.
#include "engine/tokenizer.h"

#include "engine/unicode.h"

#include <algorithm>

namespace audiobookd::engine {

std::uint64_t BpeTokenizer::pair_key(std::int32_t left, std::int32_t right) noexcept {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

std::optional<std::int32_t> BpeTokenizer::token_id(std::string_view token) const {
  if (const auto found = vocab_.find(token); found != vocab_.end()) {
    return found->second;
  }
  const auto added = std::ranges::find(added_tokens_, token, &AddedToken::content);
  return added != added_tokens_.end() ? std::optional(added->id) : std::nullopt;
}

std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  std::size_t plain_begin = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const AddedToken* token = added_token_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    encode_plain(text.substr(plain_begin, at - plain_begin), ids);
    ids.push_back(token->id);
    at += token->content.size();
    plain_begin = at;
  }
  encode_plain(text.substr(plain_begin), ids);
  return ids;
}

const BpeTokenizer::AddedToken* BpeTokenizer::added_token_at(std::string_view text) const {
  const auto found =
      std::ranges::find_if(added_tokens_, [text](const AddedToken& token) { return text.starts_with(token.content); });
  return found != added_tokens_.end() ? &*found : nullptr;
}

void BpeTokenizer::encode_plain(std::string_view text, std::vector<std::int32_t>& ids) const {
  const std::u32string characters = unicode::decode(text);
  const std::u32string_view rest = characters;
  std::size_t begin = 0;
  while (begin < rest.size()) {
    if (unicode::is_white_space(rest[begin])) {
      ++begin;
      continue;
    }
    const bool is_word = unicode::is_word(rest[begin]);
    std::size_t end = begin + 1;
    while (end < rest.size() && unicode::is_word(rest[end]) == is_word && !unicode::is_white_space(rest[end])) {
      ++end;
    }
    const auto word_ids = encode_word(rest.substr(begin, end - begin));
    ids.insert(ids.end(), word_ids.begin(), word_ids.end());
    begin = end;
  }
}

std::vector<std::int32_t> BpeTokenizer::encode_word(std::u32string_view word) const {
  std::vector<std::int32_t> symbols;
  bool after_unknown = false;
  for (const char32_t& character : word) {
    const auto found = vocab_.find(unicode::encode({&character, 1}));
    const bool is_unknown = found == vocab_.end();
    if (!is_unknown) {
      symbols.push_back(found->second);
    } else if (!(after_unknown && fuse_unknown_)) {
      symbols.push_back(unknown_id_);
    }
    after_unknown = is_unknown;
  }
  apply_merges(symbols);
  return symbols;
}

/// Merges the pair of the lowest rank, the leftmost of several, until no pair can be merged. Quadratic in the length of
/// a word, which is a few characters.
void BpeTokenizer::apply_merges(std::vector<std::int32_t>& symbols) const {
  while (true) {
    const Merge* best = nullptr;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = merges_.find(pair_key(symbols[i], symbols[i + 1]));
      if (found != merges_.end() && (best == nullptr || found->second.rank < best->rank)) {
        best = &found->second;
        best_at = i;
      }
    }
    if (best == nullptr) {
      return;
    }
    symbols[best_at] = best->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

} // namespace audiobookd::engine
