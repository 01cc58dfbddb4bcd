// See reading.h.
#include "jobs/spoken_text/reading.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <unordered_set>

namespace audiobookd::jobs {
namespace {

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// @p text without closing quotation marks and brackets at its beginning.
std::string_view without_closers(std::string_view text) {
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view closer : {"\"", "'", "”", "’", ")", "]", "»"}) {
      if (text.starts_with(closer)) {
        text.remove_prefix(closer.size());
        found = true;
      }
    }
  }
  return text;
}

std::string_view without_openers(std::string_view text) {
  for (const std::string_view opener : {"\"", "'", "“", "‘", "(", "[", "«"}) {
    text.remove_prefix(text.starts_with(opener) ? opener.size() : 0);
  }
  return text;
}

} // namespace

RuleTable::RuleTable(std::vector<Rule> rules)
    : rules_(std::move(rules)), all_(re2::RE2::Quiet, re2::RE2::ANCHOR_START) {
  for (const Rule& rule : rules_) {
    expressions_.push_back(std::make_unique<const re2::RE2>(rule.pattern, re2::RE2::Quiet));
    if (!expressions_.back()->ok() || expressions_.back()->NumberOfCapturingGroups() >= Match::max_groups) {
      throw std::logic_error("/" + rule.pattern + "/: " + expressions_.back()->error());
    }
    all_.Add(rule.pattern, nullptr);
  }
  if (!all_.Compile()) {
    throw std::logic_error("RE2 cannot compile a set of " + std::to_string(rules_.size()) + " expressions");
  }
}

std::optional<Reading> RuleTable::read(const Spot& spot) const {
  const std::string_view rest = spot.rest();
  const re2::StringPiece text(rest.data(), rest.size());
  std::vector<int> candidates;
  re2::RE2::Set::ErrorInfo error{};
  if (!all_.Match(text, &candidates, &error) && error.kind == re2::RE2::Set::kNoError) {
    return std::nullopt;
  }
  if (error.kind != re2::RE2::Set::kNoError) { // its automaton outgrew its memory: ask them one by one
    candidates.resize(rules_.size());
    std::iota(candidates.begin(), candidates.end(), 0);
  }
  std::sort(candidates.begin(), candidates.end());
  for (const int candidate : candidates) {
    const auto index = static_cast<std::size_t>(candidate);
    const re2::RE2& expression = *expressions_[index];
    Match match;
    if (expression.Match(text, 0, text.size(), re2::RE2::ANCHOR_START, match.data(),
                         expression.NumberOfCapturingGroups() + 1)) {
      if (auto reading = rules_[index].read(match, spot)) {
        return reading;
      }
    }
  }
  return std::nullopt;
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool is_word_byte(char c) noexcept {
  return is_digit(c) || is_ascii_letter(c) || static_cast<unsigned char>(c) >= 0x80;
}

bool begins_with_digit(std::string_view text) noexcept { return !text.empty() && is_digit(text.front()); }

bool begins_with_capital(std::string_view text) noexcept {
  return !text.empty() && text.front() >= 'A' && text.front() <= 'Z';
}

std::string_view previous_word(std::string_view before) {
  constexpr std::size_t longest_word = 40;
  if (before.size() < 2 || before.back() != ' ') {
    return {};
  }
  before.remove_suffix(1);
  std::size_t begin = before.size();
  while (begin > 0 && before.size() - begin < longest_word &&
         (is_word_byte(before[begin - 1]) || before[begin - 1] == '\'')) {
    --begin;
  }
  return before.substr(begin);
}

std::string_view first_word(std::string_view text) {
  constexpr std::size_t longest_word = 40;
  std::size_t end = 0;
  while (end < text.size() && end < longest_word && (is_ascii_letter(text[end]) || text[end] == '\'')) {
    ++end;
  }
  return text.substr(0, end);
}

std::string_view next_word(std::string_view after) {
  return after.starts_with(' ') ? first_word(after.substr(1)) : std::string_view();
}

bool ends_sentence(std::string_view after) {
  after = without_closers(after);
  if (after.empty()) {
    return true;
  }
  return after.front() == ' ' && begins_with_capital(without_openers(after.substr(1)));
}

bool surely_ends_sentence(std::string_view after) {
  after = without_closers(after);
  if (after.empty()) {
    return true;
  }
  if (after.front() != ' ') {
    return false;
  }
  const std::string_view next = without_openers(after.substr(1));
  return begins_with_capital(next) && (next.data() != after.data() + 1 || is_function_word(first_word(next)));
}

bool is_function_word(std::string_view word) {
  static const std::unordered_set<std::string_view> words = {
      "A",       "About",  "After", "Again",   "All",  "Although", "An",    "And",    "Any",     "As",    "At",
      "Because", "Before", "But",   "By",      "For",  "From",     "Had",   "Has",    "Have",    "He",    "Her",
      "Here",    "His",    "How",   "However", "I",    "If",       "In",    "Is",     "It",      "Its",   "Let",
      "Like",    "Many",   "May",   "My",      "No",   "Nor",      "Not",   "Now",    "Of",      "On",    "Once",
      "One",     "Only",   "Or",    "Our",     "She",  "Since",    "So",    "Some",   "Such",    "That",  "The",
      "Their",   "Then",   "There", "These",   "They", "This",     "Those", "Though", "Through", "To",    "Under",
      "Until",   "Upon",   "Was",   "We",      "Were", "What",     "When",  "Where",  "Which",   "While", "Who",
      "Why",     "With",   "Yes",   "Yet",     "You",  "Your"};
  return words.contains(word);
}

} // namespace audiobookd::jobs
