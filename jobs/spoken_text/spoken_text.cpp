// See spoken_text.h.
#include "jobs/spoken_text/spoken_text.h"

#include "jobs/spoken_text/capitals.h"
#include "jobs/spoken_text/characters.h"
#include "jobs/spoken_text/scanner.h"
#include "jobs/spoken_text/speller.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// Languages whose cardinals have one form, from two on.
bool has_plain_cardinals(std::string_view base) {
  static constexpr std::array<std::string_view, 12> languages = {"da", "de", "fr", "id", "it", "ms",
                                                                 "nb", "nl", "no", "sv", "tr", "vi"};
  return std::find(languages.begin(), languages.end(), base) != languages.end();
}

RuleSet rules_for(const SpeechOptions& options) {
  const std::string_view language = options.language;
  const std::string_view base = language.substr(0, language.find('-'));
  if (!options.normalize) {
    return RuleSet::none;
  }
  return base == "en" ? RuleSet::english : has_plain_cardinals(base) ? RuleSet::numbers : RuleSet::plain;
}

/// Whether there is a letter or digit.
bool has_sound(std::string_view text) {
  bool found = false;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) { found = found || u_isalnum(c); });
  return found;
}

/// A scene break keeps its place; anything else must have words.
bool has_words(const Paragraph& paragraph) {
  return paragraph.kind != ParagraphKind::scene_break && !paragraph.text.empty();
}

} // namespace

struct SpokenText::Parts {
  explicit Parts(const SpeechOptions& options)
      : rules(rules_for(options)), language(options.language), dictionary(options.dictionaries) {
    if (rules == RuleSet::english || rules == RuleSet::numbers) {
      speller.emplace(options.language);
    }
  }
  RuleSet rules;
  std::string language;
  Dictionary dictionary;
  std::optional<Speller> speller;
};

SpokenText::SpokenText(const SpeechOptions& options) : parts_(std::make_unique<Parts>(options)) {}
SpokenText::~SpokenText() = default;
SpokenText::SpokenText(SpokenText&&) noexcept = default;
SpokenText& SpokenText::operator=(SpokenText&&) noexcept = default;

std::string SpokenText::speak(std::string_view written, bool is_heading) const {
  const RuleSet rules = parts_->rules;
  std::string text =
      rules == RuleSet::none ? std::string(written) : plain_characters(written, rules == RuleSet::english);
  if (rules == RuleSet::english) {
    text = without_emphasis(std::move(text));
  }
  const std::vector<DictionaryMatch> matches = parts_->dictionary.find(text);
  if (rules == RuleSet::english) {
    std::vector<std::pair<std::size_t, std::size_t>> kept;
    std::transform(matches.begin(), matches.end(), std::back_inserter(kept),
                   [](const DictionaryMatch& match) { return std::pair(match.begin, match.end); });
    calm_capitals(text, kept);
  }
  const Speller* speller = parts_->speller ? &*parts_->speller : nullptr;
  std::string spoken = scan(text, matches, rules, speller, parts_->language, is_heading);
  return rules == RuleSet::none || has_sound(spoken) ? spoken : "";
}

Document speak(const Document& document, const SpeechOptions& options) {
  const SpokenText spoken(options);
  Document result = document;
  for (Chapter& chapter : result.chapters) {
    for (Paragraph& paragraph : chapter.paragraphs) {
      if (paragraph.kind != ParagraphKind::scene_break) {
        std::string text = spoken.speak(paragraph.text, paragraph.kind == ParagraphKind::heading);
        if (text != paragraph.text) {
          paragraph.written = std::exchange(paragraph.text, std::move(text));
        }
      }
    }
    std::erase_if(chapter.paragraphs, [](const Paragraph& paragraph) {
      return paragraph.kind != ParagraphKind::scene_break && paragraph.text.empty();
    });
  }
  std::erase_if(result.chapters, [](const Chapter& chapter) {
    return std::none_of(chapter.paragraphs.begin(), chapter.paragraphs.end(), has_words);
  });
  if (result.chapters.empty()) {
    throw DocumentError("the document has nothing to read aloud: it consists of symbols only");
  }
  return result;
}

} // namespace audiobookd::jobs
