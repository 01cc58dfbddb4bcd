// The spoken paragraph while it is put together: spaces between words, capitals at the beginning of sentences.
//
// One thread.
#pragma once

#include <string>
#include <string_view>

namespace audiobookd::jobs {

class SpokenOutput {
public:
  explicit SpokenOutput(std::size_t expected_bytes) { text_.reserve(expected_bytes + expected_bytes / 8); }

  /// Text that stays as it is written. White space is one space.
  void copy(std::string_view written);
  /// Words of a rule: apart from letters and digits beside them, with a capital where a sentence begins. Without words:
  /// something was left out.
  void say(std::string_view words);
  /// Words of the dictionary, exactly as they are.
  void say_exactly(std::string_view words);
  /// The paragraph, without white space at its edges.
  [[nodiscard]] std::string finish() &&;

private:
  void separate();
  [[nodiscard]] bool at_sentence_start() const;

  std::string text_;
  bool said_ = false;    ///< the last thing were words of a rule
  bool omitted_ = false; ///< something was left out since the last thing
};

} // namespace audiobookd::jobs
