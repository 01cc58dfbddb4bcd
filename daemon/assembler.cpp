// The writer's loop over the places of a book.
#include "daemon/assembler.h"

#include "daemon/utterance_edges.h"
#include "storage/errors.h"

#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {
namespace {

/// A disk that damages the same chunk more often than this is not waited for.
constexpr int max_reads = 4;

struct ReadChunk {
  std::vector<float> samples;
  AudioNotes notes;
};

/// Nothing when @p key is missing, damaged, or not what this program stores.
std::optional<ReadChunk> try_read(storage::ChunkStore& store, const std::string& key, int sample_rate) {
  std::optional<storage::AudioChunk> chunk = store.read_audio(key);
  if (!chunk || chunk->sample_rate != sample_rate) {
    return std::nullopt;
  }
  auto notes = audio_notes(chunk->metadata);
  return notes ? std::optional(ReadChunk{std::move(chunk->samples), std::move(*notes)}) : std::nullopt;
}

} // namespace

StoredPiece PieceReader::read(std::size_t piece, const std::stop_token& stop) {
  const std::string& key = book_.pieces[piece].chunk_key;
  for (int i = 0; i < max_reads; ++i) {
    ticket_.wait_stored(piece, stop);
    if (auto stored = try_read(store_, key, sample_rate_)) {
      const bool hit_token_limit = stored->notes.hit_token_limit;
      notes_.insert_or_assign(piece, std::move(stored->notes));
      return {std::move(stored->samples), hit_token_limit};
    }
    ++corrupt_chunks_;
    ticket_.render_again(piece);
  }
  throw storage::TransientError("chunk " + key + " was unreadable " + std::to_string(max_reads) +
                                " times, although it was rendered again each time");
}

std::size_t assemble(const Book& book, PieceReader& reader, BookWriter& writer, int sample_rate, BookProgress& progress,
                     const std::stop_token& stop) {
  std::size_t at_limit = 0;
  std::size_t chapters_begun = 0;
  std::size_t first = 0;   // of its chapter
  std::size_t counted = 0; // a chapter that is written again is not counted again
  for (std::size_t i = 0; i < book.utterances.size();) {
    const PlannedUtterance& utterance = book.utterances[i];
    StoredPiece piece = reader.read(utterance.piece, stop);
    if (&utterance == &book.utterances.front()) {
      progress.set_first_audio();
    }
    while (chapters_begun <= utterance.chapter) {
      writer.begin_chapter();
      ++chapters_begun;
      first = i;
    }
    writer.write(trim_edges(piece.samples, sample_rate), utterance.written);
    writer.pause(utterance.pause_s);
    if (i >= counted) {
      at_limit += piece.hit_token_limit ? 1 : 0;
      progress.add_written(book.pieces[utterance.piece].predicted_tokens,
                           static_cast<double>(writer.samples()) / sample_rate);
      counted = i + 1;
    }
    const bool ends_chapter = i + 1 == book.utterances.size() || book.utterances[i + 1].chapter != utterance.chapter;
    i = ends_chapter && writer.wants_chapter_again() ? first : i + 1;
  }
  return at_limit;
}

} // namespace audiobookd::daemon
