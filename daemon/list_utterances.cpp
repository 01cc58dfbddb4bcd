// See list_utterances.h.
#include "daemon/list_utterances.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <utility>

namespace audiobookd::daemon {
namespace {

using TakesByAttempt = std::map<int, Take>;

Take take_of(const AudioNotes& notes) { return {notes.attempt, badness_of(notes.findings), notes.findings}; }

void add(TakesByAttempt& takes, const AudioNotes& notes) {
  for (const Take& take : notes.takes) {
    takes.emplace(take.attempt, take);
  }
  takes.emplace(notes.attempt, take_of(notes));
}

std::optional<AudioNotes> notes_in(storage::ChunkStore& store, const std::string& key) {
  const auto chunk = store.read_audio(key);
  return chunk ? audio_notes(chunk->metadata) : std::nullopt;
}

/// What the store knows of the takes of a piece besides the one that is heard.
void add_others(TakesByAttempt& takes, const ChosenTake& chosen, storage::ChunkStore& store) {
  if (const auto unchosen = notes_in(store, chosen.chunk_key)) {
    add(takes, *unchosen);
  }
  for (int attempt = 0; attempt < chosen.takes; ++attempt) {
    if (takes.contains(attempt)) {
      continue;
    }
    if (const auto other = notes_in(store, take_key(chosen.chunk_key, attempt))) {
      takes.emplace(attempt, take_of(*other));
    }
  }
}

void put_takes(ListedUtterance& utterance, const Piece& piece, const AudioNotes& notes, storage::ChunkStore& store) {
  utterance.take = notes.attempt;
  utterance.unheard = notes.unheard;
  utterance.findings = notes.findings;
  TakesByAttempt takes;
  add(takes, notes);
  if (piece.chosen) {
    add_others(takes, *piece.chosen, store);
  }
  for (auto& [attempt, take] : takes) {
    utterance.takes.push_back(std::move(take));
  }
  utterance.num_takes = utterance.takes.back().attempt + 1;
  if (piece.chosen) {
    utterance.num_takes = std::max(utterance.num_takes, piece.chosen->takes);
  }
}

} // namespace

std::vector<ListedUtterance> list_utterances(const Book& book, const WrittenBook& written,
                                             const std::map<std::size_t, AudioNotes>& notes, storage::ChunkStore& store,
                                             int sample_rate) {
  if (written.utterances.size() != book.utterances.size()) {
    throw std::logic_error("list_utterances: " + std::to_string(written.utterances.size()) + " of " +
                           std::to_string(book.utterances.size()) + " utterances were written");
  }
  std::vector<ListedUtterance> all;
  std::unordered_map<std::size_t, std::size_t> first_of_piece;
  for (std::size_t i = 0; i < book.utterances.size(); ++i) {
    const PlannedUtterance& place = book.utterances[i];
    const HeardUtterance& heard = written.utterances[i];
    const Piece& piece = book.pieces[place.piece];
    ListedUtterance utterance;
    utterance.number = i + 1;
    utterance.file = written.files.at(heard.file).name;
    utterance.start_s = static_cast<double>(heard.begin) / sample_rate;
    utterance.end_s = static_cast<double>(heard.end) / sample_rate;
    utterance.chapter = place.chapter + 1;
    utterance.chapter_title = book.chapter_titles.at(place.chapter);
    utterance.written = place.written;
    utterance.spoken = piece.utterance.text;
    utterance.seed = piece.utterance.seed;
    utterance.key = place.key;
    utterance.redone = place.redone;
    const auto [first, is_new] = first_of_piece.emplace(place.piece, utterance.number);
    if (!is_new) {
      utterance.same_as = first->second;
    }
    put_takes(utterance, piece, notes.at(place.piece), store);
    all.push_back(std::move(utterance));
  }
  return all;
}

} // namespace audiobookd::daemon
