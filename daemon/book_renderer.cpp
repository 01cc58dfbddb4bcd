// The steps from document to audiobook file.
#include "daemon/book_renderer.h"

#include "daemon/assembler.h"
#include "daemon/errors.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

namespace audiobookd::daemon {
namespace {

/// How much longer than predicted the utterances of a book may be, altogether, before its reservation is too small.
constexpr double length_margin = 1.25;

constexpr std::chrono::milliseconds first_room_wait{100};
constexpr std::chrono::milliseconds longest_room_wait{5'000};

engine::EngineStats difference(const engine::EngineStats& now, const engine::EngineStats& then) {
  engine::EngineStats stats;
  stats.utterances_finished = now.utterances_finished - then.utterances_finished;
  stats.utterances_failed = now.utterances_failed - then.utterances_failed;
  stats.tokens = now.tokens - then.tokens;
  stats.decode_steps = now.decode_steps - then.decode_steps;
  stats.decode_rows = now.decode_rows - then.decode_rows;
  stats.prefill_seconds = now.prefill_seconds - then.prefill_seconds;
  stats.decode_seconds = now.decode_seconds - then.decode_seconds;
  stats.encoder_seconds = now.encoder_seconds - then.encoder_seconds;
  stats.cfm_seconds = now.cfm_seconds - then.cfm_seconds;
  stats.vocoder_seconds = now.vocoder_seconds - then.vocoder_seconds;
  stats.audio_seconds = now.audio_seconds - then.audio_seconds;
  stats.out_of_memory = now.out_of_memory - then.out_of_memory;
  return stats;
}

std::string first_non_empty(const std::string& a, const std::string& b, const std::string& c = {}) {
  return !a.empty() ? a : !b.empty() ? b : c;
}

std::string narrator_of(const BookRequest& request) { return first_non_empty(request.narrator, request.options.voice); }

storage::Tags make_tags(const Book& book, const BookRequest& request, const engine::EngineInfo& info) {
  storage::Tags tags;
  tags.title = first_non_empty(request.title, book.title, request.fallback_title);
  tags.album = tags.title;
  tags.author = first_non_empty(request.author, book.author);
  tags.narrator = narrator_of(request);
  tags.language = request.options.language;
  tags.disclosure = storage::synthetic_narration(info.model, tags.narrator);
  if (info.synthetic) {
    tags.comment = synthetic_notice;
  }
  return tags;
}

std::vector<std::string> collect_warnings(const Book& book, const AssemblyReport& assembly,
                                          const engine::EngineInfo& info) {
  std::vector<std::string> warnings = book.warnings;
  if (info.synthetic) {
    warnings.emplace_back(synthetic_notice);
  } else if (assembly.utterances_at_limit > 0) {
    warnings.push_back(std::to_string(assembly.utterances_at_limit) +
                       " utterances ended at the token limit and may be cut off");
  }
  if (assembly.corrupt_chunks > 0) {
    warnings.push_back(std::to_string(assembly.corrupt_chunks) + " stored chunks were damaged and rendered again");
  }
  return warnings;
}

double seconds_between(BookProgress::Clock::time_point begin, BookProgress::Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

double round_to_ms(double seconds) { return std::round(seconds * 1000) / 1000; }

} // namespace

ChunkClaim::~ChunkClaim() {
  try {
    left_ ? store_.leave_claim(book_id_) : store_.end_claim(book_id_);
  } catch (const std::exception&) { // the book is over either way; a later claim of the same name replaces this one
  }
}

void ChunkClaim::take(const Book& book, const engine::EngineInfo& info, const std::stop_token& stop) {
  const double samples_per_token = static_cast<double>(info.sample_rate) / info.tokens_per_second;
  std::uint64_t bytes = 0;
  std::vector<std::string> keys;
  for (const Piece& piece : book.pieces) {
    const double samples = length_margin * samples_per_token * piece.predicted_tokens;
    bytes += storage::ChunkStore::entry_bytes(static_cast<std::uint64_t>(samples));
    keys.push_back(piece.chunk_key);
  }
  wait_for_room(bytes, keys, stop);
}

void ChunkClaim::wait_for_room(std::uint64_t bytes, const std::vector<std::string>& keys, const std::stop_token& stop) {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  std::mutex mutex;
  std::condition_variable_any wake; // only the stop does
  for (std::chrono::milliseconds wait = first_room_wait;; wait = std::min(2 * wait, longest_room_wait)) {
    try {
      store_.claim(book_id_, bytes, keys);
      return;
    } catch (const storage::NoRoomError& error) {
      if (std::chrono::steady_clock::now() >= deadline) {
        throw;
      }
      if (wait == first_room_wait) {
        spdlog::warn("job {} waits: {}", book_id_, error.what());
      }
    }
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, wait, [] { return false; });
    if (stop.stop_requested()) {
      throw Interrupted();
    }
  }
}

std::string BookReport::to_json() const {
  const nlohmann::ordered_json seconds = {
      {"prefill", round_to_ms(engine.prefill_seconds)}, {"decode", round_to_ms(engine.decode_seconds)},
      {"encoder", round_to_ms(engine.encoder_seconds)}, {"cfm", round_to_ms(engine.cfm_seconds)},
      {"vocoder", round_to_ms(engine.vocoder_seconds)}, {"encode", round_to_ms(encode_seconds)}};
  const nlohmann::ordered_json result = {{"words", words},
                                         {"chapters", chapters},
                                         {"utterances", utterances},
                                         {"rendered", rendered},
                                         {"reused", utterances - rendered},
                                         {"audio_seconds", round_to_ms(audio_seconds)},
                                         {"wall_seconds", round_to_ms(wall_seconds)},
                                         {"times_real_time", round_to_ms(times_real_time())},
                                         {"seconds_per_stage", seconds},
                                         {"plan_seconds", round_to_ms(plan_seconds)},
                                         {"tail_seconds", round_to_ms(tail_seconds)},
                                         {"first_audio_ms", std::llround(1000 * first_audio_seconds)},
                                         {"model", model},
                                         {"device", device},
                                         {"voice", voice},
                                         {"synthetic", synthetic},
                                         {"warnings", warnings}};
  return result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

BookReport render_book(const Studio& studio, const BookRequest& request, ChunkClaim& claim, storage::ByteSink& sink,
                       const std::shared_ptr<BookProgress>& progress, std::stop_token stop) {
  const engine::EngineStats stats_before = studio.renderer.stats();
  const engine::EngineInfo& info = studio.renderer.info();
  const auto book = std::make_shared<const Book>(plan_book(request.document, request.options, studio.renderer));
  claim.take(*book, info, stop);
  progress->plan(*book);

  const storage::Tags tags = make_tags(*book, request, info);
  storage::AudiobookWriter writer(sink, studio.encoders, {request.mp3, {}, tags, book->chapter_titles});
  const std::unique_ptr<BookTicket> ticket = studio.pool.open(book, request.priority, progress);
  const auto planned = BookProgress::Clock::now();
  const AssemblyReport assembly = assemble(*book, *ticket, studio.store, writer, info.sample_rate, *progress, stop);
  const storage::AudiobookSummary summary = writer.finish(tags);
  const auto finished = BookProgress::Clock::now();

  BookReport report;
  report.model = info.model;
  report.device = info.device;
  report.voice = narrator_of(request);
  report.synthetic = info.synthetic;
  report.words = book->words;
  report.chapters = book->chapter_titles.size();
  report.utterances = book->utterances.size();
  report.rendered = ticket->rendered();
  report.audio_seconds = summary.seconds;
  report.encode_seconds = summary.encode_seconds;
  report.engine = difference(studio.renderer.stats(), stats_before);
  report.warnings = collect_warnings(*book, assembly, info);
  report.wall_seconds = seconds_between(progress->begun(), finished);
  report.plan_seconds = seconds_between(progress->begun(), planned);
  report.first_audio_seconds =
      std::chrono::duration<double>(progress->first_audio().value_or(std::chrono::milliseconds(0))).count();
  report.tail_seconds = seconds_between(ticket->last_delivery().value_or(planned), finished);
  return report;
}

} // namespace audiobookd::daemon
