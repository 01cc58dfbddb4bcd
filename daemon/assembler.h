// Puts a book together: reads its chunks from the store in reading order, as they become available, and feeds them
// with chapters and pauses to the audiobook writer. Holds one utterance at a time; the bytes depend on the book alone,
// not on the order in which its audio arrived.
//
// An assembly belongs to one thread.
#pragma once

#include "daemon/book.h"
#include "daemon/book_progress.h"
#include "daemon/book_writer.h"
#include "daemon/takes.h"
#include "daemon/utterance_pool.h"
#include "storage/chunk_store.h"

#include <cstddef>
#include <map>
#include <stop_token>
#include <vector>

namespace audiobookd::daemon {

struct StoredPiece {
  std::vector<float> samples;
  bool hit_token_limit = false; ///< its end may be cut off
};

/// Reads the pieces of a book, as they become available.
class PieceReader {
public:
  /// @param sample_rate of its chunks: others are rendered again.
  PieceReader(const Book& book, BookTicket& ticket, storage::ChunkStore& store, int sample_rate)
      : book_(book), ticket_(ticket), store_(store), sample_rate_(sample_rate) {}

  /// @param piece index into Book::pieces. @throws as BookTicket::wait_stored(); TransientError when the store loses
  /// the same chunk again and again.
  StoredPiece read(std::size_t piece, const std::stop_token& stop);
  /// How many chunks were found unreadable and rendered again.
  [[nodiscard]] std::size_t corrupt_chunks() const noexcept { return corrupt_chunks_; }
  /// Of the pieces read so far: which attempt is heard, and what the gates found, in whichever run.
  [[nodiscard]] const std::map<std::size_t, AudioNotes>& notes() const noexcept { return notes_; }

private:
  const Book& book_;
  BookTicket& ticket_;
  storage::ChunkStore& store_;
  const int sample_rate_;
  std::size_t corrupt_chunks_ = 0;
  std::map<std::size_t, AudioNotes> notes_;
};

/// Writes all of @p book, whose pieces @p reader reads. @return how many utterances ended at the token limit
/// @throws as PieceReader::read(), BookWriter::begin_chapter() and write().
std::size_t assemble(const Book& book, PieceReader& reader, BookWriter& writer, int sample_rate, BookProgress& progress,
                     const std::stop_token& stop);

} // namespace audiobookd::daemon
