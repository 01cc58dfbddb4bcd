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

std::string lower_case(std::string_view letters) {
  std::string result;
  for_each_code_point(letters, [&](UChar32 c, std::size_t, std::size_t) { append_code_point(result, u_tolower(c)); });
  return result;
}

std::string letters_at_begin(std::string_view text) {
  std::string_view rest = text;
  while (u_isalpha(first_code_point(rest))) {
    rest = without_first_code_point(rest);
  }
  return lower_case(text.substr(0, text.size() - rest.size()));
}

std::string letters_at_end(std::string_view text) {
  std::string_view rest = text;
  while (u_isalpha(last_code_point(rest))) {
    rest = without_last_code_point(rest);
  }
  return lower_case(text.substr(rest.size()));
}

} // namespace

Vocabulary::Vocabulary(std::string_view text) {
  for_each_word(text, [&](std::string word) { words_.insert(std::move(word)); });
}

bool Vocabulary::has_joined(std::string_view before, std::string_view after) const {
  return words_.contains(letters_at_end(before) + letters_at_begin(after));
}

} // namespace audiobookd::jobs
