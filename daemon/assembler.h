// Puts a book together: reads its chunks from the store in reading order, as they become available, and feeds them
// with chapters and pauses to the audiobook writer. Holds one utterance at a time; the bytes depend on the book alone,
// not on the order in which its audio arrived.
//
// An assembly belongs to one thread.
#pragma once

#include "daemon/book.h"
#include "daemon/book_progress.h"
#include "daemon/utterance_pool.h"
#include "storage/audiobook_writer.h"
#include "storage/chunk_store.h"

#include <cstddef>
#include <stop_token>

namespace audiobookd::daemon {

struct AssemblyReport {
  std::size_t utterances_at_limit = 0; ///< that ended at the token limit: their end may be cut off
  std::size_t corrupt_chunks = 0;      ///< found unreadable and rendered again
};

/// Writes all of @p book. @param sample_rate of its chunks: others are rendered again.
/// @throws as BookTicket::wait_stored() and AudiobookWriter::write(); TransientError when the store loses the same
/// chunk again and again.
AssemblyReport assemble(const Book& book, BookTicket& ticket, storage::ChunkStore& store,
                        storage::AudiobookWriter& writer, int sample_rate, BookProgress& progress,
                        std::stop_token stop);

} // namespace audiobookd::daemon
