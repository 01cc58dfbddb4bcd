// A book as it will be rendered: the document's utterances in reading order, each with the key of its audio.
//
// Plain values and a pure function of document, options and what the renderer has loaded; any thread.
#pragma once

#include "daemon/renderer.h"
#include "engine/utterance.h"
#include "jobs/chunker.h"
#include "jobs/document/document.h"
#include "jobs/job.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// Everything besides the text that decides how a book sounds.
struct BookOptions {
  std::string voice = "default";
  std::string language = "en"; ///< BCP 47
  jobs::JobParams params;
  jobs::Pauses pauses;
  bool normalize = true;                      ///< numbers, abbreviations and the like are read as words
  std::vector<jobs::Words> dictionaries = {}; ///< how words are said; later ones override earlier ones
  bool is_interactive = false;                ///< somebody waits for its beginning
};

/// A take that somebody has asked for: it is heard whatever the gates find.
struct ChosenTake {
  int attempt = 0;
  int takes = 0;         ///< attempts that there are to choose from, as far as is known
  std::string chunk_key; ///< of the audio that is heard where nobody chooses
};

/// Audio to render. Text that returns under the same circumstances is one piece, however often it is heard.
struct Piece {
  engine::Utterance utterance; ///< complete but for its id
  std::string chunk_key;       ///< of the audio in the chunk store
  int predicted_tokens = 0;
  std::optional<ChosenTake> chosen = {}; ///< nothing: the gates choose
};

/// One place of the book.
struct PlannedUtterance {
  std::size_t piece = 0; ///< index into Book::pieces
  std::size_t chapter = 0;
  double pause_s = 0;       ///< silence afterwards
  std::string written = {}; ///< what people read while they hear it: as written, where that is known
  std::string key = {};     ///< 16 hex digits that name its text, voice, model and parameters before any redo
  bool redone = false;      ///< apply_redo() (redo.h) has changed what is heard here
};

struct Book {
  std::string title;  ///< of the document, may be empty
  std::string author; ///< of the document, may be empty
  std::vector<std::string> chapter_titles;
  std::vector<Piece> pieces; ///< distinct chunk keys, in order of first appearance
  std::vector<PlannedUtterance> utterances;
  std::size_t words = 0;
  std::vector<std::string> warnings;
};

/// Cuts @p document into utterances and names their audio. Every chapter gets its chapter_title(). A document that says
/// it is in another language than it will be read in gets a warning. When somebody waits, the first sentence is an
/// utterance of its own and the first half minute is urgent. Everything but the titles is as it will be said
/// (jobs::speak()), and what PlannedUtterance::written says.
/// @throws std::invalid_argument naming a voice that is not loaded; jobs::DocumentError when nothing can be said.
[[nodiscard]] Book plan_book(const jobs::Document& document, const BookOptions& options, const Renderer& renderer);

} // namespace audiobookd::daemon
