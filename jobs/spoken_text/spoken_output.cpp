// See spoken_output.h.
#include "jobs/spoken_text/spoken_output.h"

#include "jobs/spoken_text/reading.h"
#include "jobs/utf8.h"

#include <unicode/uchar.h>

namespace audiobookd::jobs {
namespace {

bool is_word_character(UChar32 c) { return u_isalnum(c) || u_charType(c) == U_NON_SPACING_MARK; }

bool is_closing(char c) { return std::string_view(".,;:!?").find(c) != std::string_view::npos; }

/// "A.D.", "K.": the full stop of a single letter ends no sentence.
bool ends_with_initial(std::string_view text) {
  const std::string_view letter = without_last_code_point(text);
  return u_isalpha(last_code_point(letter)) && !is_word_character(last_code_point(without_last_code_point(letter)));
}

} // namespace

void SpokenOutput::copy(std::string_view written) {
  if (written == " ") {
    if (!text_.empty() && text_.back() != ' ') {
      text_ += ' ';
    }
    said_ = false;
    return;
  }
  if (said_ && is_word_character(first_code_point(written))) {
    text_ += ' ';
  }
  if (omitted_ && text_.ends_with(' ') && is_closing(written.front())) {
    text_.pop_back();
  }
  text_ += written;
  said_ = false;
  omitted_ = false;
}

void SpokenOutput::separate() {
  const UChar32 last = last_code_point(text_);
  if (is_word_character(last) || last == ')' || last == '%' || (said_ && last != ' ')) {
    text_ += ' ';
  }
}

bool SpokenOutput::at_sentence_start() const {
  static constexpr std::u32string_view passed = U"\"'“”‘’«»()[] ";
  std::string_view before = text_;
  bool spaced = false;
  while (!before.empty()) {
    const UChar32 c = last_code_point(before);
    if (passed.find(static_cast<char32_t>(c)) == std::u32string_view::npos) {
      return spaced && (c == '!' || c == '?' || c == U'…' || (c == '.' && !ends_with_initial(before)));
    }
    spaced = spaced || c == ' ';
    before = without_last_code_point(before);
  }
  return true;
}

void SpokenOutput::say(std::string_view words) {
  if (words.empty()) {
    omitted_ = true;
    return;
  }
  if (words == " ") {
    copy(words);
    return;
  }
  separate();
  const UChar32 first = first_code_point(words);
  const UChar32 raised = at_sentence_start() ? u_toupper(first) : first;
  append_code_point(text_, raised);
  text_ += without_first_code_point(words);
  said_ = true;
  omitted_ = false;
}

void SpokenOutput::say_exactly(std::string_view words) {
  if (said_ && is_word_character(first_code_point(words))) {
    text_ += ' ';
  }
  text_ += words;
  omitted_ = words.empty();
  said_ = !words.empty();
}

std::string SpokenOutput::finish() && {
  while (text_.ends_with(' ')) {
    text_.pop_back();
  }
  text_.erase(0, text_.find_first_not_of(' '));
  return std::move(text_);
}

} // namespace audiobookd::jobs
