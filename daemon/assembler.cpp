// The writer's loop over the places of a book.
#include "daemon/assembler.h"

#include "storage/errors.h"

#include <nlohmann/json.hpp>
#include <string>

namespace audiobookd::daemon {
namespace {

/// A disk that damages the same chunk more often than this is not waited for.
constexpr int max_reads = 4;

storage::AudioChunk read_chunk(const Book& book, std::size_t piece, BookTicket& ticket, storage::ChunkStore& store,
                               AssemblyReport& report, std::stop_token stop) {
  const std::string& key = book.pieces[piece].chunk_key;
  for (int i = 0; i < max_reads; ++i) {
    ticket.wait_stored(piece, stop);
    if (auto chunk = store.read_audio(key)) {
      return std::move(*chunk);
    }
    ++report.corrupt_chunks;
    ticket.render_again(piece);
  }
  throw storage::TransientError("chunk " + key + " was unreadable " + std::to_string(max_reads) +
                                " times, although it was rendered again each time");
}

} // namespace

AssemblyReport assemble(const Book& book, BookTicket& ticket, storage::ChunkStore& store,
                        storage::AudiobookWriter& writer, BookProgress& progress, std::stop_token stop) {
  AssemblyReport report;
  std::size_t chapters_begun = 0;
  for (const PlannedUtterance& utterance : book.utterances) {
    const storage::AudioChunk chunk = read_chunk(book, utterance.piece, ticket, store, report, stop);
    if (&utterance == &book.utterances.front()) {
      progress.set_first_audio();
    }
    report.utterances_at_limit += nlohmann::json::parse(chunk.metadata).at("hit_token_limit").get<bool>() ? 1 : 0;
    while (chapters_begun <= utterance.chapter) {
      writer.begin_chapter();
      ++chapters_begun;
    }
    writer.write(chunk.samples);
    writer.pause(utterance.pause_s);
    progress.add_written(book.pieces[utterance.piece].predicted_tokens,
                         static_cast<double>(writer.samples()) / chunk.sample_rate);
  }
  return report;
}

} // namespace audiobookd::daemon
