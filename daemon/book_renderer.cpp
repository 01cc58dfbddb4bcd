// The steps from document to audiobook file.
#include "daemon/book_renderer.h"

#include "daemon/acx_document.h"
#include "daemon/acx_levels.h"
#include "daemon/assembler.h"
#include "daemon/errors.h"
#include "daemon/list_utterances.h"
#include "daemon/redo.h"
#include "daemon/voice_level.h"

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

/// A book may be so far from its loudness.
constexpr double loudness_tolerance_lu = 1;
/// What decoding an MP3 may add to a peak.
constexpr double codec_headroom_db = 0.5;

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

std::string voice_of(const BookRequest& request) { return first_non_empty(request.narrator, request.options.voice); }

std::string title_of(const BookRequest& request) {
  return first_non_empty(request.title, request.document.title, request.fallback_title);
}

std::string author_of(const BookRequest& request) { return first_non_empty(request.author, request.document.author); }

storage::Tags make_tags(const BookRequest& request, const engine::EngineInfo& info) {
  storage::Tags tags;
  tags.title = title_of(request);
  tags.album = tags.title;
  tags.author = author_of(request);
  tags.narrator = first_non_empty(request.metadata.narrator, voice_of(request));
  tags.genre = first_non_empty(request.metadata.genre, tags.genre);
  const jobs::Document& document = request.document;
  tags.series = document.series;
  tags.series_index = document.series_index;
  tags.publisher = document.publisher;
  tags.year = document.year;
  tags.description = document.description;
  if (document.cover) {
    tags.cover = storage::CoverPicture{document.cover->bytes, document.cover->media_type};
  }
  tags.language = request.options.language;
  tags.disclosure = storage::synthetic_narration(info.model, voice_of(request));
  if (info.synthetic) {
    tags.comment = synthetic_notice;
  }
  return tags;
}

BookDescription describe(const BookRequest& request, const storage::Tags& tags, const WrittenBook& written) {
  const jobs::BookMetadata& metadata = request.metadata;
  return {.title = tags.title,
          .subtitle = metadata.subtitle,
          .authors = tags.author,
          .narrators = tags.narrator,
          .series = tags.series,
          .series_index = tags.series_index,
          .genre = tags.genre,
          .year = tags.year,
          .publisher = tags.publisher,
          .description = tags.description,
          .isbn = jobs::isbn_of(metadata, request.document.identifier),
          .asin = metadata.asin,
          .language = tags.language,
          .disclosure = tags.disclosure,
          .chapters = written.chapters,
          .files = written.files};
}

std::string joined_by_and(const std::string& names) {
  std::string joined;
  for (const std::string& name : split_names(names)) {
    joined += (joined.empty() ? "" : " and ") + name;
  }
  return joined;
}

jobs::CreditNames credit_names(const BookRequest& request) {
  const jobs::Document& document = request.document;
  const std::string& narrator = request.metadata.narrator;
  return {.title = title_of(request),
          .subtitle = request.metadata.subtitle,
          .author = joined_by_and(author_of(request)),
          .narrator = narrator.empty() ? "a synthetic voice" : narrator + ", a synthetic voice",
          .series = document.series,
          .series_index = document.series_index,
          .publisher = document.publisher,
          .year = document.year};
}

/// What is read.
jobs::Document document_of(const BookRequest& request, const Renderer& renderer) {
  if (!request.acx) {
    return request.document;
  }
  const auto length_of = [&](const std::string& text) {
    return static_cast<double>(renderer.predict_tokens(text)) / renderer.info().tokens_per_second;
  };
  return with_credits(in_parts(request.document, length_of, request.options.pauses), *request.acx,
                      credit_names(request));
}

std::vector<std::string> collect_warnings(const Book& book, std::size_t utterances_at_limit, std::size_t corrupt_chunks,
                                          const engine::EngineInfo& info) {
  std::vector<std::string> warnings = book.warnings;
  if (info.synthetic) {
    warnings.emplace_back(synthetic_notice);
  } else if (utterances_at_limit > 0) {
    warnings.push_back(std::to_string(utterances_at_limit) + " utterances ended at the token limit and may be cut off");
  }
  if (corrupt_chunks > 0) {
    warnings.push_back(std::to_string(corrupt_chunks) + " stored chunks were damaged and rendered again");
  }
  return warnings;
}

/// What making the file of a book takes.
struct Making {
  const Studio& studio;
  const BookRequest& request;
  const Book& book;
  PieceReader& reader;
  BookOutput& output;
  const std::stop_token& stop;
};

struct Written {
  WrittenBook book;
  std::size_t utterances_at_limit = 0;
  double gain_db = 0;
  bool again = false;
};

std::optional<AcxWriting> acx_writing(const BookRequest& request) {
  return request.acx ? std::optional(AcxWriting{AcxAims::head_s, acx_tail_s(request.options.pauses.chapter_s)})
                     : std::nullopt;
}

Written write_once(const Making& with, const storage::LevelSettings& levels, BookProgress& progress) {
  const engine::EngineInfo& info = with.studio.renderer.info();
  const BookRequest& request = with.request;
  BookWriter writer(with.output, with.studio.encoders,
                    {request.shape, request.format, levels, make_tags(request, info), with.book.chapter_titles,
                     acx_writing(request)});
  Written written;
  written.gain_db = levels.gain_db;
  written.utterances_at_limit = assemble(with.book, with.reader, writer, info.sample_rate, progress, with.stop);
  written.book = writer.finish();
  return written;
}

/// With preset acx: each file is measured by itself, and written again by itself if need be.
Written write_acx(const Making& with, BookProgress& progress) {
  const double rms_dbfs = voice_levels(with.studio, with.request.options, with.stop).rms_dbfs();
  Written written = write_once(with, acx_levels(rms_dbfs), progress);
  written.again =
      std::ranges::any_of(written.book.acx.value().files, [](const AcxFile& file) { return file.encodings > 1; });
  return written;
}

/// As the voice is levelled; and once more if the book turns out to be another.
Written write_leveled(const Making& with, const std::string& book_id, BookProgress& progress) {
  const auto& target = with.request.loudness;
  if (with.request.acx) {
    return write_acx(with, progress);
  }
  if (const auto& gain_db = with.request.redo.gain_db) { // what is not redone stays as it is
    storage::LevelSettings levels{.gain_db = *gain_db};
    if (target) {
      levels.ceiling_dbtp = target->true_peak_dbtp - codec_headroom_db;
    }
    return write_once(with, levels, progress);
  }
  if (!target) {
    return write_once(with, {}, progress);
  }
  storage::LevelSettings levels{.gain_db = voice_gain_db(with.studio, with.request.options, target->lufs, with.stop),
                                .ceiling_dbtp = target->true_peak_dbtp - codec_headroom_db};
  Written written = write_once(with, levels, progress);
  const double measured = written.book.levels.loudness_lufs();
  levels.gain_db = corrected_gain_db(levels.gain_db, measured, target->lufs, loudness_tolerance_lu);
  if (levels.gain_db != written.gain_db) {
    spdlog::info("job {}: measures {:.1f} LUFS instead of {:.1f}, encoded again", book_id, measured, target->lufs);
    with.output.clear();
    BookProgress nobodys;
    written = write_once(with, levels, nobodys);
    written.again = true;
  }
  return written;
}

double seconds_between(BookProgress::Clock::time_point begin, BookProgress::Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

void log_gates(const GateReport& gates, const std::string& book_id) {
  if (const std::string summary = gates.summary(); !summary.empty()) {
    spdlog::info("job {}: {}", book_id, summary);
  }
  for (const BestEffort& utterance : gates.listed) {
    spdlog::info("job {}: best effort: {}", book_id, describe(utterance));
  }
}

BookListing make_listing(const Making& with, const Written& written) {
  const Studio& studio = with.studio;
  const engine::EngineInfo& info = studio.renderer.info();
  return {.job = with.request.job,
          .payload = with.request.payload,
          .output = with.request.output,
          .fingerprint = {},
          .model = info.model,
          .voice = voice_of(with.request),
          .gain_db = written.gain_db,
          .utterances = list_utterances(with.book, written.book, with.reader.notes(), studio.store, info.sample_rate)};
}

/// Of a folder the listing is a file in it, of a single file whoever publishes it writes one beside it.
std::optional<BookListing> put_listing(const Making& with, Written& written) {
  const BookShape& shape = with.request.shape;
  if (!shape.listing) {
    return std::nullopt;
  }
  BookListing listing = make_listing(with, written);
  if (!shape.is_folder()) {
    for (ListedUtterance& utterance : listing.utterances) {
      utterance.file = listing.output.substr(listing.output.rfind('/') + 1);
    }
    return listing;
  }
  const std::string json = to_json(listing);
  with.output.begin_file(listing_file).append(std::as_bytes(std::span(json)));
  written.book.files.push_back({listing_file, 0, json.size()});
  return std::nullopt;
}

double rounded(double value) { return std::round(value * 1000) / 1000; }

} // namespace

jobs::OutputNames output_names(const BookRequest& request) {
  const jobs::Document& document = request.document;
  return {.author = author_of(request),
          .series = document.series,
          .series_index = document.series_index,
          .title = title_of(request),
          .year = document.year,
          .narrator = first_non_empty(request.metadata.narrator, voice_of(request))};
}

ChunkClaim::~ChunkClaim() {
  try {
    left_ ? store_.leave_claim(book_id_) : store_.end_claim(book_id_);
  } catch (const std::exception&) { // the book is over either way; a later claim of the same name replaces this one
  }
}

void ChunkClaim::take(const Book& book, const engine::EngineInfo& info, const std::stop_token& stop, int takes) {
  const double samples_per_token = static_cast<double>(info.sample_rate) / info.tokens_per_second;
  std::uint64_t bytes = 0;
  std::vector<std::string> keys;
  for (const Piece& piece : book.pieces) {
    const double samples = length_margin * samples_per_token * piece.predicted_tokens;
    bytes += storage::ChunkStore::entry_bytes(static_cast<std::uint64_t>(samples));
    keys.push_back(piece.chunk_key);
    if (piece.chosen) { // what the listing says of the others
      keys.push_back(piece.chosen->chunk_key);
    }
    const std::string& key = piece.chosen ? piece.chosen->chunk_key : piece.chunk_key;
    const int most = piece.chosen ? std::max(takes, piece.chosen->takes) : takes;
    for (int attempt = 0; attempt < most; ++attempt) {
      keys.push_back(take_key(key, attempt));
    }
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
  nlohmann::ordered_json file_list = nlohmann::ordered_json::array();
  for (const BookFile& file : files) {
    nlohmann::ordered_json& entry = file_list.emplace_back(nlohmann::ordered_json{{"name", file.name}});
    if (file.seconds > 0) {
      entry["seconds"] = rounded(file.seconds);
    }
    entry["bytes"] = file.bytes;
  }
  const nlohmann::ordered_json seconds = {
      {"prefill", rounded(engine.prefill_seconds)}, {"decode", rounded(engine.decode_seconds)},
      {"encoder", rounded(engine.encoder_seconds)}, {"cfm", rounded(engine.cfm_seconds)},
      {"vocoder", rounded(engine.vocoder_seconds)}, {"encode", rounded(encode_seconds)}};
  const nlohmann::ordered_json level = {{"loudness_lufs", rounded(levels.loudness_lufs())},
                                        {"true_peak_dbtp", rounded(levels.true_peak_dbtp())},
                                        {"rms_dbfs", rounded(levels.rms_dbfs())},
                                        {"gain_db", rounded(gain_db)},
                                        {"encoded_again", encoded_again}};
  nlohmann::ordered_json result = {
      {"output", output},
      {"listing", listing_name.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(listing_name)},
      {"files", file_list},
      {"words", words},
      {"chapters", chapters},
      {"utterances", utterances},
      {"rendered", rendered},
      {"reused", utterances - rendered},
      {"audio_seconds", rounded(audio_seconds)},
      {"wall_seconds", rounded(wall_seconds)},
      {"times_real_time", rounded(times_real_time())},
      {"seconds_per_stage", seconds},
      {"levels", level},
      {"plan_seconds", rounded(plan_seconds)},
      {"tail_seconds", rounded(tail_seconds)},
      {"first_audio_ms", std::llround(1000 * first_audio_seconds)},
      {"model", model},
      {"device", device},
      {"voice", voice},
      {"synthetic", synthetic},
      {"warnings", warnings}};
  result.update(audiobookd::daemon::to_json(gates));
  if (acx) {
    result["acx"] = audiobookd::daemon::to_json(*acx);
  }
  return result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

BookReport render_book(const Studio& studio, const BookRequest& request, ChunkClaim& claim, BookOutput& output,
                       const std::shared_ptr<BookProgress>& progress, std::stop_token stop) {
  const engine::EngineStats stats_before = studio.renderer.stats();
  const engine::EngineInfo& info = studio.renderer.info();
  Book plan = plan_book(document_of(request, studio.renderer), request.options, studio.renderer);
  apply_redo(plan, request.redo.utterances, request.options, studio.renderer);
  const auto book = std::make_shared<const Book>(std::move(plan));
  claim.take(*book, info, stop, studio.pool.most_takes());
  progress->plan(*book);
  const std::unique_ptr<BookTicket> ticket = studio.pool.open(book, request.priority, progress);
  const auto planned = BookProgress::Clock::now();
  PieceReader reader(*book, *ticket, studio.store, info.sample_rate);
  const Making making{studio, request, *book, reader, output, stop};
  Written written = write_leveled(making, claim.book_id(), *progress);
  std::optional<BookListing> listing = put_listing(making, written);
  BookDescription description = describe(request, make_tags(request, info), written.book);
  output.finish(description);
  const auto finished = BookProgress::Clock::now();

  BookReport report;
  report.model = info.model;
  report.device = info.device;
  report.voice = voice_of(request);
  report.synthetic = info.synthetic;
  report.words = book->words;
  report.chapters = book->chapter_titles.size();
  report.utterances = book->utterances.size();
  report.rendered = ticket->rendered();
  report.audio_seconds = written.book.seconds;
  report.encode_seconds = written.book.encode_seconds;
  report.gain_db = written.gain_db;
  report.levels = written.book.levels;
  report.encoded_again = written.again;
  report.acx = written.book.acx;
  report.gates = gate_report(*book, reader.notes());
  report.gates.unheard = ticket->unheard();
  log_gates(report.gates, claim.book_id());
  report.files = std::move(description.files);
  report.listing = std::move(listing);
  report.output = request.output;
  if (request.shape.listing) {
    report.listing_name = request.shape.is_folder() ? request.output + "/" + report.files.back().name
                                                    : listing_name(request.output, false);
  }
  report.engine = difference(studio.renderer.stats(), stats_before);
  report.warnings = collect_warnings(*book, written.utterances_at_limit, reader.corrupt_chunks(), info);
  for (const std::string& failure : report.acx ? report.acx->failures() : std::vector<std::string>()) {
    report.warnings.push_back("ACX: " + failure);
  }
  report.wall_seconds = seconds_between(progress->begun(), finished);
  report.plan_seconds = seconds_between(progress->begun(), planned);
  report.first_audio_seconds =
      std::chrono::duration<double>(progress->first_audio().value_or(std::chrono::milliseconds(0))).count();
  report.tail_seconds = seconds_between(ticket->last_delivery().value_or(planned), finished);
  return report;
}

} // namespace audiobookd::daemon
