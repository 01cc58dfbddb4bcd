// The words of a text: decides whether a hyphen at the end of a line divides a word or belongs to it.
//
// Immutable after construction: any thread.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

namespace audiobookd::jobs {

class Vocabulary {
public:
  /// Collects the words (runs of letters, whatever their case) of @p text, UTF-8.
  explicit Vocabulary(std::string_view text);

  /// Whether the word that ends @p before and goes on in @p after is in the text somewhere in one piece.
  [[nodiscard]] bool has_joined(std::string_view before, std::string_view after) const;

private:
  std::unordered_set<std::string> words_; ///< lower-cased
};

} // namespace audiobookd::jobs
