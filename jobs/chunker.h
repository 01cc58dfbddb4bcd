// Cuts a document into chunks: stretches of text that are spoken in one go, each an utterance for the engine.
//
// Pure functions of their arguments: the same document and options give the same chunks. Any thread.
#pragma once

#include "jobs/document/document.h"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// What comes after a chunk; decides the pause.
enum class Follows {
  sentence, ///< more of the same paragraph
  paragraph,
  scene, ///< a paragraph after a scene break
  chapter,
  end, ///< nothing: the last chunk of the document
};

/// Silence after a chunk in seconds, by what follows; counted after the edge silence of the audio has been trimmed.
struct Pauses {
  double sentence_s = 0.25;
  double paragraph_s = 0.6;
  double scene_s = 1.5;
  double chapter_s = 2.5;

  /// The pause before @p what; 0 at the end.
  [[nodiscard]] double before(Follows what) const noexcept;
};

struct Chunk {
  std::string text;          ///< UTF-8, no white space at the edges, never empty
  std::size_t chapter = 0;   ///< index into Document::chapters
  std::size_t paragraph = 0; ///< index into Chapter::paragraphs
  Follows follows = Follows::end;
  bool is_heading = false;
  int predicted_tokens = 0; ///< what ChunkerOptions::predict_tokens says of text
  int occurrence = 0;       ///< how many chunks with the same text precede this one in its chapter
};

struct ChunkerOptions {
  /// Speech tokens a chunk may be predicted to take. 390 are 15.6 s at 25 tokens a second: long enough that the voice
  /// prompt, paid once per utterance, weighs little; short enough that the model does not lose the thread.
  int max_tokens = 390;
  /// Very short utterances make the model babble: chunks below this many characters (code points) join a neighbour of
  /// their paragraph, even if that means to cut the neighbour elsewhere than at a sentence.
  int min_characters = 20;
  /// The first sentence of a document that begins with a longer paragraph is a chunk of its own: it is heard sooner.
  bool first_sentence_alone = false;
  /// Speech tokens that a text will take. Required. Longer text must not be predicted to take fewer tokens than a part
  /// of it.
  std::function<int(std::string_view)> predict_tokens;
};

/// Cuts every paragraph at the best places that keep its chunks within max_tokens: between sentences, with quoted
/// speech kept whole; where that is not enough between sentences inside quoted speech, then at semicolons, colons and
/// dashes, commas, conjunctions, spaces; inside a word (between graphemes) only if the word alone exceeds the cap.
/// Among the cuts of a paragraph those are taken that give few, evenly filled chunks. A chunk never spans paragraphs,
/// so a heading stands alone. Nothing but white space is lost; scene breaks become pauses.
/// @return the chunks in reading order; empty for a document with nothing to read.
/// @throws std::invalid_argument when predict_tokens is missing or max_tokens is too small for a single character.
std::vector<Chunk> chunk_document(const Document& document, const ChunkerOptions& options);

} // namespace audiobookd::jobs
