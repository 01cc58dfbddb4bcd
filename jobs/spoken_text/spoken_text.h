// From what is written to what is said: numbers, dates, money, abbreviations, Roman numerals, addresses and symbols in
// words, decoration left out, and the user's dictionary.
//
// A SpokenText is used by one thread at a time; speak() may be called from any.
#pragma once

#include "jobs/document/document.h"
#include "jobs/spoken_text/dictionary.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

struct SpeechOptions {
  std::string language = "en";          ///< BCP 47
  bool normalize = true;                ///< false: only the dictionary is applied
  std::vector<Words> dictionaries = {}; ///< later ones override earlier ones; entries without complaint
};

/// Reads paragraphs of one language.
///
/// English: everything above, as in the United States or, for "en-GB" and its relatives, as in Britain; what is said
/// has no digits but those of the dictionary. Other languages: characters, decoration and repeated punctuation; whole
/// numbers in words where ICU knows them and they have only one form (Danish, Dutch, French, German, Indonesian,
/// Italian, Malay, Norwegian, Swedish, Turkish, Vietnamese), the rest as it is. Quotation marks, dashes and sentence
/// punctuation stay. A second reading changes nothing more in ordinary text.
class SpokenText {
public:
  /// @throws std::runtime_error when ICU's data is missing.
  explicit SpokenText(const SpeechOptions& options);
  ~SpokenText();
  SpokenText(SpokenText&&) noexcept;
  SpokenText& operator=(SpokenText&&) noexcept;

  /// What is said of @p written (UTF-8, no line breaks). Empty when it was decoration only. Takes time in proportion to
  /// its length, and gives at most sixteen times as many bytes, besides the dictionary's.
  /// @param is_heading numerals that stand alone are numbers then.
  [[nodiscard]] std::string speak(std::string_view written, bool is_heading) const;

private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// The document as it will be said. Paragraphs that are decoration only are left out, chapters that consist of them as
/// well; titles, which are for the eye, stay as written, and so does Paragraph::written.
/// @throws DocumentError when nothing is left.
[[nodiscard]] Document speak(const Document& document, const SpeechOptions& options);

} // namespace audiobookd::jobs
