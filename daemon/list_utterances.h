// Makes the listing of a book that was written.
//
// Belongs to the thread of the book.
#pragma once

#include "daemon/book.h"
#include "daemon/book_listing.h"
#include "daemon/book_writer.h"
#include "daemon/takes.h"
#include "storage/chunk_store.h"

#include <cstddef>
#include <map>
#include <vector>

namespace audiobookd::daemon {

/// Every utterance of @p book, in reading order. It depends on the book and on what the store holds of it, not on which
/// run rendered what.
/// @param notes by piece, of all. @param store is asked about other takes of those that somebody has chosen.
/// @throws what the store throws.
[[nodiscard]] std::vector<ListedUtterance> list_utterances(const Book& book, const WrittenBook& written,
                                                           const std::map<std::size_t, AudioNotes>& notes,
                                                           storage::ChunkStore& store, int sample_rate);

} // namespace audiobookd::daemon
