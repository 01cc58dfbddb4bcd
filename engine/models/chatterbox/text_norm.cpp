// Punctuation rules and the English tokenizer. Any thread.
#include "engine/models/chatterbox/text_norm.h"

#include "engine/unicode.h"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr std::string_view space_token = "[SPACE]";

struct Replacement {
  std::string_view from;
  std::string_view to;
};

/// Applied one after the other, each to the whole text.
constexpr auto replacements = std::to_array<Replacement>({
    {"...", ", "},
    {"…", ", "},
    {":", ","},
    {" - ", ", "},
    {";", ", "},
    {"—", "-"},
    {"–", "-"},
    {" ,", ","},
    {"“", "\""},
    {"”", "\""},
    {"‘", "'"},
    {"’", "'"},
});

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (std::size_t found = text.find(from); found != std::string_view::npos; found = text.find(from)) {
    result.append(text.substr(0, found)).append(to);
    text.remove_prefix(found + from.size());
  }
  return result.append(text);
}

std::u32string capitalise(std::u32string text) {
  if (unicode::is_lower(text.front())) {
    text.replace(0, 1, unicode::to_upper(text.front()));
  }
  return text;
}

/// The words joined with single spaces.
std::u32string collapse_spaces(std::u32string_view text) {
  std::u32string result;
  bool pending_space = false;
  for (const char32_t c : text) {
    if (unicode::is_space(c)) {
      pending_space = !result.empty();
      continue;
    }
    if (pending_space) {
      result.push_back(' ');
      pending_space = false;
    }
    result.push_back(c);
  }
  return result;
}

bool has_ending(std::string_view text) {
  return !text.empty() && std::string_view(".!?-,").find(text.back()) != std::string_view::npos;
}

void require_token(const BpeTokenizer& tokenizer, const std::string& file, const char* token, int expected) {
  const auto found = tokenizer.token_id(token);
  if (found != expected) {
    throw std::runtime_error(file + ": " + token + ": expected the id " + std::to_string(expected) + ", found " +
                             (found ? std::to_string(*found) : "none"));
  }
}

} // namespace

std::string punc_norm(std::string_view text) {
  if (text.empty()) {
    return "You need to add some text for me to talk.";
  }
  std::string result = unicode::encode(collapse_spaces(capitalise(unicode::decode(text))));
  for (const auto& [from, to] : replacements) {
    result = replace_all(result, from, to);
  }
  result.erase(result.find_last_not_of(' ') + 1);
  if (!has_ending(result)) {
    result.push_back('.');
  }
  return result;
}

BpeTokenizer load_english_tokenizer(const std::filesystem::path& checkpoint, const T3Config& config) {
  const std::filesystem::path path = checkpoint / "tokenizer.json";
  const std::string file = path.string();
  BpeTokenizer tokenizer = BpeTokenizer::load(path);
  if (tokenizer.vocab_size() > config.text_vocab_size) {
    throw std::runtime_error(file + ": expected at most " + std::to_string(config.text_vocab_size) +
                             " ids (t3_text_vocab_size), found " + std::to_string(tokenizer.vocab_size()));
  }
  require_token(tokenizer, file, "[START]", config.start_text_token);
  require_token(tokenizer, file, "[STOP]", config.stop_text_token);
  if (!tokenizer.token_id(space_token)) {
    throw std::runtime_error(file + ": has no token " + std::string(space_token));
  }
  return tokenizer;
}

std::vector<std::int32_t> encode_english(const BpeTokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(replace_all(text, " ", space_token));
}

} // namespace audiobookd::engine::chatterbox
