// Turns a document into pieces and utterances. Pure; any thread.
#include "daemon/book.h"

#include "jobs/document/chapter_selection.h"
#include "jobs/spoken_text/spoken_text.h"
#include "jobs/written_text.h"

#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <utility>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t key_digits = 16; ///< of PlannedUtterance::key

engine::Utterance make_utterance(const jobs::Chunk& chunk, const BookOptions& options, const Renderer& renderer) {
  engine::Utterance utterance;
  const jobs::JobParams& params = options.params;
  engine::SamplingParams& sampling = utterance.sampling;
  utterance.text = chunk.text;
  utterance.voice = options.voice;
  utterance.exaggeration = params.exaggeration.value_or(utterance.exaggeration);
  utterance.cfm_steps = params.cfm_steps.value_or(utterance.cfm_steps);
  utterance.seed = params.seed;
  sampling.cfg_weight = params.cfg_weight.value_or(sampling.cfg_weight);
  sampling.temperature = params.temperature.value_or(sampling.temperature);
  sampling.repetition_penalty = params.repetition_penalty.value_or(sampling.repetition_penalty);
  sampling.min_p = params.min_p.value_or(sampling.min_p);
  sampling.top_k = params.top_k.value_or(sampling.top_k);
  sampling.top_p = params.top_p.value_or(sampling.top_p);
  utterance.key = renderer.utterance_key(chunk.text, options.language, options.voice, chunk.occurrence);
  return utterance;
}

/// "en" of "en-GB", lower-cased.
std::string primary_language(const std::string& tag) {
  std::string language = tag.substr(0, tag.find_first_of("-_"));
  std::ranges::transform(language, language.begin(), [](unsigned char c) { return std::tolower(c); });
  return language;
}

void warn_of_language(const jobs::Document& document, const std::string& spoken, Book& book) {
  if (!document.language.empty() && primary_language(document.language) != primary_language(spoken)) {
    book.warnings.push_back("the document says that its language is \"" + document.language + "\"; it is read as \"" +
                            spoken + "\"");
  }
}

/// Marks the pieces that are heard in the first half minute; the others are done before these have been heard.
void hurry_beginning(Book& book) {
  constexpr int urgent_tokens = 750;
  int tokens = 0;
  for (const PlannedUtterance& place : book.utterances) {
    Piece& piece = book.pieces[place.piece];
    piece.utterance.urgent = true;
    tokens += piece.predicted_tokens;
    if (tokens >= urgent_tokens) {
      return;
    }
  }
}

std::size_t count_words(std::string_view text) {
  std::size_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool is_space = c == ' ' || c == '\n' || c == '\t';
    words += !is_space && !inside ? 1 : 0;
    inside = !is_space;
  }
  return words;
}

/// What listeners read along with, for each of @p chunks: those of a paragraph share its text as it was written.
std::vector<std::string> written_texts(const jobs::Document& spoken, const std::vector<jobs::Chunk>& chunks) {
  std::vector<std::string> texts;
  for (std::size_t begin = 0, end = 0; begin < chunks.size(); begin = end) {
    const auto& [chapter, paragraph] = std::pair(chunks[begin].chapter, chunks[begin].paragraph);
    std::vector<std::string> stretches;
    for (end = begin; end < chunks.size() && chunks[end].chapter == chapter && chunks[end].paragraph == paragraph;
         ++end) {
      stretches.push_back(chunks[end].text);
    }
    const std::string& written = spoken.chapters[chapter].paragraphs[paragraph].written;
    const std::vector<std::string> parts = written.empty() ? stretches : jobs::written_parts(written, stretches);
    texts.insert(texts.end(), parts.begin(), parts.end());
  }
  return texts;
}

} // namespace

Book plan_book(const jobs::Document& written, const BookOptions& options, const Renderer& renderer) {
  const jobs::Document document = jobs::speak(
      written, {.language = options.language, .normalize = options.normalize, .dictionaries = options.dictionaries});
  jobs::ChunkerOptions chunker;
  chunker.predict_tokens = [&renderer](std::string_view text) { return renderer.predict_tokens(text); };
  chunker.first_sentence_alone = options.is_interactive;

  Book book;
  book.title = document.title;
  book.author = document.author;
  book.warnings = document.warnings;
  warn_of_language(document, options.language, book);
  for (std::size_t index = 0; index < document.chapters.size(); ++index) {
    book.chapter_titles.push_back(jobs::chapter_title(document, index));
  }
  std::unordered_map<std::string, std::size_t> piece_of_key;
  const std::vector<jobs::Chunk> chunks = jobs::chunk_document(document, chunker);
  std::vector<std::string> texts = written_texts(document, chunks);
  for (const jobs::Chunk& chunk : chunks) {
    engine::Utterance utterance = make_utterance(chunk, options, renderer);
    std::string key = renderer.chunk_key(utterance);
    const std::string short_key = key.substr(0, key_digits);
    const auto [known, is_new] = piece_of_key.emplace(key, book.pieces.size());
    if (is_new) {
      book.pieces.push_back({std::move(utterance), std::move(key), chunk.predicted_tokens});
    }
    book.utterances.push_back({known->second, chunk.chapter, options.pauses.before(chunk.follows),
                               std::move(texts[book.utterances.size()]), short_key});
    book.words += count_words(chunk.text);
  }
  if (options.is_interactive) {
    hurry_beginning(book);
  }
  return book;
}

} // namespace audiobookd::daemon
