// The writer's loop over the places of a book.
#include "daemon/assembler.h"

#include "storage/errors.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {
namespace {

/// A disk that damages the same chunk more often than this is not waited for.
constexpr int max_reads = 4;

struct ReadChunk {
  std::vector<float> samples;
  bool hit_token_limit = false;
};

/// Nothing when @p key is missing, damaged, or not what this program stores.
std::optional<ReadChunk> try_read(storage::ChunkStore& store, const std::string& key, int sample_rate) {
  std::optional<storage::AudioChunk> chunk = store.read_audio(key);
  if (!chunk) {
    return std::nullopt;
  }
  const auto metadata = nlohmann::json::parse(chunk->metadata, nullptr, false);
  const bool is_ours = metadata.is_object() && metadata.contains("hit_token_limit") &&
                       metadata["hit_token_limit"].is_boolean() && chunk->sample_rate == sample_rate;
  if (!is_ours) {
    return std::nullopt;
  }
  return ReadChunk{std::move(chunk->samples), metadata["hit_token_limit"].get<bool>()};
}

ReadChunk read_chunk(const Book& book, std::size_t piece, BookTicket& ticket, storage::ChunkStore& store,
                     int sample_rate, AssemblyReport& report, const std::stop_token& stop) {
  const std::string& key = book.pieces[piece].chunk_key;
  for (int i = 0; i < max_reads; ++i) {
    ticket.wait_stored(piece, stop);
    if (auto chunk = try_read(store, key, sample_rate)) {
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
                        storage::AudiobookWriter& writer, int sample_rate, BookProgress& progress,
                        std::stop_token stop) {
  AssemblyReport report;
  std::size_t chapters_begun = 0;
  for (const PlannedUtterance& utterance : book.utterances) {
    const ReadChunk chunk = read_chunk(book, utterance.piece, ticket, store, sample_rate, report, stop);
    if (&utterance == &book.utterances.front()) {
      progress.set_first_audio();
    }
    report.utterances_at_limit += chunk.hit_token_limit ? 1 : 0;
    while (chapters_begun <= utterance.chapter) {
      writer.begin_chapter();
      ++chapters_begun;
    }
    writer.write(chunk.samples);
    writer.pause(utterance.pause_s);
    progress.add_written(book.pieces[utterance.piece].predicted_tokens,
                         static_cast<double>(writer.samples()) / sample_rate);
  }
  return report;
}

} // namespace audiobookd::daemon
