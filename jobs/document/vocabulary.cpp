// The words of a text. Immutable after construction: any thread.
#include "jobs/document/vocabulary.h"

#include "jobs/utf8.h"

#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// Calls @p visit with every run of letters in @p text, lower-cased.
template <typename Visit>
void for_each_word(std::string_view text, Visit visit) {
  std::string word;
  for_each_code_point(text, [&](UChar32 code_point, std::size_t, std::size_t) {
    if (u_isalpha(code_point)) {
      append_code_point(word, u_tolower(code_point));
    } else if (!word.empty()) {
      visit(std::exchange(word, {}));
    }
  });
  if (!word.empty()) {
    visit(std::move(word));
  }
}

std::string first_word(std::string_view text) {
  std::string first;
  for_each_word(text, [&](std::string word) { first = first.empty() ? std::move(word) : first; });
  return first;
}

std::string last_word(std::string_view text) {
  std::string last;
  for_each_word(text, [&](std::string word) { last = std::move(word); });
  return last;
}

} // namespace

Vocabulary::Vocabulary(std::string_view text) {
  for_each_word(text, [&](std::string word) { words_.insert(std::move(word)); });
}

bool Vocabulary::has_joined(std::string_view before, std::string_view after) const {
  return words_.contains(last_word(before) + first_word(after));
}

} // namespace audiobookd::jobs
