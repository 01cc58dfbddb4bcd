// Sentences are told apart in the text as it was written, before anything is put into it.
#include "jobs/credits.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace audiobookd::jobs {
namespace {

struct Placeholder {
  std::string_view name;
  std::string CreditNames::*value;
};

constexpr std::array<Placeholder, 8> placeholders = {{{"title", &CreditNames::title},
                                                      {"subtitle", &CreditNames::subtitle},
                                                      {"author", &CreditNames::author},
                                                      {"narrator", &CreditNames::narrator},
                                                      {"series", &CreditNames::series},
                                                      {"series_index", &CreditNames::series_index},
                                                      {"publisher", &CreditNames::publisher},
                                                      {"year", &CreditNames::year}}};
constexpr std::string_view blanks = " \t\r\n\f\v";
constexpr std::string_view sentence_ends = ".!?";

bool is_name(std::string_view word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

/// The name in braces that @p text begins with; nothing when it begins with something else.
std::optional<std::string_view> name_at(std::string_view text) {
  if (!text.starts_with('{')) {
    return std::nullopt;
  }
  const std::size_t end = text.find('}');
  if (end == std::string_view::npos || !is_name(text.substr(1, end - 1))) {
    return std::nullopt;
  }
  return text.substr(1, end - 1);
}

const Placeholder* find_placeholder(std::string_view name) {
  const auto* found = std::ranges::find(placeholders, name, &Placeholder::name);
  return found == placeholders.end() ? nullptr : found;
}

/// Up to and with the full stops and the like, and the blanks behind them.
std::vector<std::string_view> sentences_of(std::string_view text) {
  std::vector<std::string_view> sentences;
  while (!text.empty()) {
    std::size_t end = 0;
    do {
      end = std::min(text.find_first_of(sentence_ends, end), text.size());
      end = std::min(text.find_first_not_of(sentence_ends, end), text.size());
    } while (end < text.size() && blanks.find(text[end]) == std::string_view::npos);
    end = std::min(text.find_first_not_of(blanks, end), text.size());
    sentences.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return sentences;
}

/// Nothing when a name is not known.
std::optional<std::string> expand_sentence(std::string_view sentence, const CreditNames& names) {
  std::string expanded;
  while (!sentence.empty()) {
    const auto name = name_at(sentence);
    const Placeholder* placeholder = name ? find_placeholder(*name) : nullptr;
    if (placeholder == nullptr) {
      expanded += sentence.front();
      sentence.remove_prefix(1);
      continue;
    }
    const std::string& value = names.*placeholder->value;
    if (value.empty()) {
      return std::nullopt;
    }
    expanded += value;
    sentence.remove_prefix(name->size() + 2);
    const bool has_end = sentence_ends.find(value.back()) != std::string_view::npos;
    if (has_end && sentence.starts_with('.')) {
      sentence.remove_prefix(1);
    }
  }
  return expanded;
}

} // namespace

std::string complaint_about_credits(std::string_view text) {
  if (text.find_first_not_of(blanks) == std::string_view::npos) {
    return "contains nothing to say";
  }
  if (text.size() > max_credits_bytes) {
    return std::to_string(text.size()) + " bytes long, at most " + std::to_string(max_credits_bytes) + " are allowed";
  }
  for (std::size_t i = text.find('{'); i != std::string_view::npos; i = text.find('{', i + 1)) {
    const auto name = name_at(text.substr(i));
    if (name && find_placeholder(*name) == nullptr) {
      std::string known;
      for (const Placeholder& placeholder : placeholders) {
        known += (known.empty() ? "{" : ", {") + std::string(placeholder.name) + "}";
      }
      return "{" + std::string(*name) + "} is no placeholder; there are " + known;
    }
  }
  return "";
}

std::string expand_credits(std::string_view text, const CreditNames& names) {
  std::string expanded;
  for (const std::string_view sentence : sentences_of(text)) {
    expanded += expand_sentence(sentence, names).value_or("");
  }
  expanded.erase(expanded.find_last_not_of(blanks) + 1);
  return expanded;
}

} // namespace audiobookd::jobs
