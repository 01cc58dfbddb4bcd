// Every redone place gets a piece of its own; pieces that are heard nowhere any more are dropped.
#include "daemon/redo.h"

#include "daemon/takes.h"
#include "jobs/spoken_text/spoken_text.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace audiobookd::daemon {
namespace {

[[noreturn]] void reject(const jobs::RedoneUtterance& wanted, const std::string& why) {
  throw jobs::JobError("redo: utterance " + std::to_string(wanted.number) + why);
}

/// In one line, as paragraphs are.
std::string without_line_breaks(const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) {
    line += (line.empty() ? "" : " ") + word;
  }
  return line;
}

void change_text(Piece& piece, const std::string& written, const jobs::RedoneUtterance& wanted,
                 const BookOptions& options, const Renderer& renderer) {
  const jobs::SpokenText spoken(
      {.language = options.language, .normalize = options.normalize, .dictionaries = options.dictionaries});
  piece.utterance.text = spoken.speak(written, false);
  if (piece.utterance.text.empty()) {
    reject(wanted, ": its text has nothing to say");
  }
  piece.predicted_tokens = renderer.predict_tokens(piece.utterance.text);
  const int most = jobs::ChunkerOptions().max_tokens;
  if (piece.predicted_tokens > most) {
    const double rate = renderer.info().tokens_per_second;
    std::ostringstream why;
    why.precision(3);
    why << ": its text lasts about " << piece.predicted_tokens / rate << " s; an utterance may last " << most / rate
        << " s; make it shorter, or change the document";
    reject(wanted, why.str());
  }
  piece.utterance.key = renderer.utterance_key(piece.utterance.text, options.language, options.voice, 0);
}

/// What is to be heard instead of @p planned.
Piece redone(const Piece& planned, const std::string& text, const jobs::RedoneUtterance& wanted,
             const BookOptions& options, const Renderer& renderer) {
  Piece piece = planned;
  if (wanted.text) {
    change_text(piece, text, wanted, options, renderer);
  }
  piece.utterance.seed = wanted.seed.value_or(piece.utterance.seed);
  piece.chunk_key = renderer.chunk_key(piece.utterance);
  if (wanted.take) {
    piece.chosen = ChosenTake{*wanted.take, std::max(wanted.takes, *wanted.take + 1), piece.chunk_key};
    piece.chunk_key = take_key(piece.chunk_key, *wanted.take);
  }
  return piece;
}

void check(const Book& book, const jobs::RedoneUtterance& wanted) {
  if (wanted.number == 0 || wanted.number > book.utterances.size()) {
    reject(wanted, " does not exist, the book has " + std::to_string(book.utterances.size()) + " utterances");
  }
  const PlannedUtterance& place = book.utterances[wanted.number - 1];
  if (place.key != wanted.key) {
    reject(wanted, " is another one than when it was listed (its key is " + place.key + " and was " + wanted.key +
                       "): the document, the dictionary, the voice, the model or a setting has changed since; render "
                       "the book anew without `redo`, and listen again");
  }
}

/// Drops pieces that nobody hears; those that are left are in order of first appearance.
void drop_unheard(Book& book) {
  std::map<std::size_t, std::size_t> moved;
  std::vector<Piece> pieces;
  for (PlannedUtterance& place : book.utterances) {
    const auto [known, is_new] = moved.emplace(place.piece, pieces.size());
    if (is_new) {
      pieces.push_back(std::move(book.pieces[place.piece]));
    }
    place.piece = known->second;
  }
  book.pieces = std::move(pieces);
}

} // namespace

void apply_redo(Book& book, const std::vector<jobs::RedoneUtterance>& redo, const BookOptions& options,
                const Renderer& renderer) {
  if (redo.empty()) {
    return;
  }
  std::map<std::string, std::size_t> piece_of_key;
  for (std::size_t i = 0; i < book.pieces.size(); ++i) {
    piece_of_key.emplace(book.pieces[i].chunk_key, i);
  }
  for (const jobs::RedoneUtterance& wanted : redo) {
    check(book, wanted);
    PlannedUtterance& place = book.utterances[wanted.number - 1];
    const std::string text = wanted.text ? without_line_breaks(*wanted.text) : "";
    Piece piece = redone(book.pieces[place.piece], text, wanted, options, renderer);
    const auto [known, is_new] = piece_of_key.emplace(piece.chunk_key, book.pieces.size());
    if (is_new) {
      book.pieces.push_back(std::move(piece));
    }
    place.piece = known->second;
    place.redone = true;
    if (wanted.text) {
      place.written = text;
    }
  }
  drop_unheard(book);
}

} // namespace audiobookd::daemon
