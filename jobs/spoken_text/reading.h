// A place in a text, and how it is read there: what the rules of this folder share.
//
// Pure values and functions: any thread, but a Speller is used by one at a time.
#pragma once

#include "jobs/spoken_text/speller.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <re2/re2.h>
#include <re2/set.h>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Where a rule is asked for a reading.
struct Spot {
  std::string_view text;   ///< the whole paragraph, after plain_characters()
  std::size_t at = 0;      ///< where the reading would begin
  std::size_t limit = 0;   ///< it must not go beyond: the dictionary has the word there
  bool is_heading = false; ///< the paragraph is one
  const Speller& speller;

  /// What a rule may take, at most max_window bytes.
  [[nodiscard]] std::string_view rest() const { return text.substr(at, std::min(limit - at, max_window)); }
  [[nodiscard]] std::string_view before() const { return text.substr(0, at); }
  /// Everything behind the first @p length bytes of the reading.
  [[nodiscard]] std::string_view after(std::size_t length) const { return text.substr(at + length); }

  static constexpr std::size_t max_window = 160; ///< nothing that is read at once is longer
};

/// How a stretch of text is read.
struct Reading {
  std::size_t length = 0; ///< in bytes, from Spot::at
  std::string spoken;     ///< not read again
};

/// The groups of a regular expression that matched.
class Match {
public:
  static constexpr int max_groups = 10;
  /// @p index 0 is all of it. Empty where a group took no part.
  [[nodiscard]] std::string_view operator[](std::size_t index) const {
    return {groups_.at(index).data(), groups_.at(index).size()};
  }
  [[nodiscard]] std::size_t length() const { return groups_[0].size(); }
  [[nodiscard]] re2::StringPiece* data() { return groups_.data(); }

private:
  std::array<re2::StringPiece, max_groups> groups_;
};

/// A regular expression and what it means. The first rule of a table that matches and gives a reading counts.
struct Rule {
  std::string pattern;
  std::optional<Reading> (*read)(const Match& match, const Spot& spot);
};

/// Rules with their expressions compiled. Immutable: any thread.
class RuleTable {
public:
  /// @throws std::logic_error for a pattern that is none.
  explicit RuleTable(std::vector<Rule> rules);
  [[nodiscard]] std::optional<Reading> read(const Spot& spot) const;

private:
  std::vector<Rule> rules_;
  re2::RE2::Set all_; ///< says in one go which match
  std::vector<std::unique_ptr<const re2::RE2>> expressions_;
};

[[nodiscard]] bool is_digit(char c) noexcept;
/// A letter or digit of ASCII, or any byte of another character.
[[nodiscard]] bool is_word_byte(char c) noexcept;
[[nodiscard]] bool begins_with_digit(std::string_view text) noexcept;
[[nodiscard]] bool begins_with_capital(std::string_view text) noexcept;

/// The word that ends right before the last space of @p before, without anything else between: "King " → "King". Empty
/// if something else stands there.
[[nodiscard]] std::string_view previous_word(std::string_view before);
/// The letters and apostrophes that begin @p text.
[[nodiscard]] std::string_view first_word(std::string_view text);
/// The first word behind one space.
[[nodiscard]] std::string_view next_word(std::string_view after);

/// Whether a full stop right before @p after ends a sentence as well: the text ends there, or a capital follows.
[[nodiscard]] bool ends_sentence(std::string_view after);
/// The same where names often follow: the text ends, or a word follows that begins sentences ("He", "The").
[[nodiscard]] bool surely_ends_sentence(std::string_view after);
/// Pronouns, articles and the like, which are capitalised at the beginning of sentences only.
[[nodiscard]] bool is_function_word(std::string_view word);

} // namespace audiobookd::jobs
