// Renders one book into a file or a folder: plan, claim room in the chunk store, render what is missing, write. What
// the queue's jobs and the command `render` have in common.
//
// render_book() blocks and belongs to the thread of one book; any number of books may run beside each other.
#pragma once

#include "daemon/acx.h"
#include "daemon/book.h"
#include "daemon/book_listing.h"
#include "daemon/book_progress.h"
#include "daemon/book_writer.h"
#include "daemon/gate_report.h"
#include "daemon/renderer.h"
#include "daemon/utterance_pool.h"
#include "jobs/book_metadata.h"
#include "jobs/job.h"
#include "jobs/output_name.h"
#include "storage/chunk_store.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// What all books share.
struct Studio {
  Renderer& renderer;
  UtterancePool& pool;
  storage::ChunkStore& store;
  storage::WorkerPool& encoders;
};

/// Claims room and chunks of the store for a book; gives them back when destroyed.
class ChunkClaim {
public:
  /// @param book_id as ChunkStore's jobs. @param patience how long to wait for room that other books hold.
  ChunkClaim(storage::ChunkStore& store, std::string book_id, std::chrono::milliseconds patience = {})
      : store_(store), book_id_(std::move(book_id)), patience_(patience) {}
  /// Ends or leaves the claim; an error there is left to the next claim of the same book.
  ~ChunkClaim();
  [[nodiscard]] const std::string& book_id() const noexcept { return book_id_; }
  ChunkClaim(const ChunkClaim&) = delete;
  ChunkClaim& operator=(const ChunkClaim&) = delete;

  /// Reserves room for and pins all chunks of @p book, waiting for it if need be.
  /// @param takes as UtterancePool::most_takes(): their keys are pinned, too.
  /// @throws as ChunkStore::claim(); Interrupted when @p stop is requested meanwhile.
  void take(const Book& book, const engine::EngineInfo& info, const std::stop_token& stop, int takes = 0);
  /// The claim outlives this object and this process: the book will be taken up again.
  void leave() noexcept { left_ = true; }

private:
  void wait_for_room(std::uint64_t bytes, const std::vector<std::string>& keys, const std::stop_token& stop);

  storage::ChunkStore& store_;
  std::string book_id_;
  const std::chrono::milliseconds patience_;
  bool left_ = false;
};

/// What a book is to measure.
struct LoudnessTarget {
  double lufs = -19;          ///< integrated, mono
  double true_peak_dbtp = -3; ///< at most
};

struct BookRequest {
  jobs::Document document;
  BookOptions options;
  std::string narrator; ///< what people call the voice; empty: as the renderer does
  storage::AudioFormat format;
  std::optional<LoudnessTarget> loudness; ///< nothing: as loud as the voice is
  std::string title;                      ///< overrides the document's; neither: fallback_title
  std::string author;                     ///< overrides the document's
  std::string fallback_title;             ///< for example the name of the file
  BookShape shape;
  jobs::BookMetadata metadata;        ///< besides what is in the document already (jobs::apply())
  std::optional<AcxCredits> acx = {}; ///< preset acx: with acx_format(), split_chapters, and levels of its own
  int priority = 0;                   ///< smaller is served first
  jobs::Redo redo = {};               ///< what is heard otherwise than planned
  std::string output = {};            ///< what is asked for, with what its placeholders stand for, for the listing
  std::string job = {};               ///< id, for the listing
  std::string payload = {};           ///< the job's JSON, for the listing; empty: none
};

/// For people and scripts.
struct BookReport {
  std::string model;
  std::string device;
  std::string voice;
  bool synthetic = false; ///< the weights are made by a formula: what is heard is noise
  std::size_t words = 0;
  std::size_t chapters = 0;
  std::size_t utterances = 0;
  std::size_t rendered = 0; ///< utterances rendered now; the others were in the chunk store, or said the same
  double audio_seconds = 0;
  double wall_seconds = 0;        ///< since the book was taken up, until the file is complete but not yet published
  double plan_seconds = 0;        ///< of these: until the engine could begin
  double first_audio_seconds = 0; ///< of these: until the first utterance was in the store
  double tail_seconds = 0;        ///< of these: after the engine had delivered the last waveform
  double encode_seconds = 0;      ///< CPU time of the threads that encode
  double gain_db = 0;             ///< that was applied
  storage::Levels levels;         ///< of the whole, as it was encoded
  bool encoded_again = false;     ///< the gain of the voice was not that of the book; with preset acx: of a file
  std::optional<AcxReport> acx;   ///< of preset acx
  GateReport gates;
  std::string output;          ///< what was asked for, with what its placeholders stand for; whoever asked knows it
  std::vector<BookFile> files; ///< without the description of a folder
  std::string listing_name;    ///< where the listing is, as `output` says where the book is; empty: there is none
  /// Of a book in one file, if it is to have one: for whoever publishes it, who knows its fingerprint.
  std::optional<BookListing> listing;
  engine::EngineStats engine; ///< what the engine did meanwhile, for this book and for others beside it
  std::vector<std::string> warnings;

  [[nodiscard]] double times_real_time() const noexcept { return wall_seconds > 0 ? audio_seconds / wall_seconds : 0; }
  /// One JSON object.
  [[nodiscard]] std::string to_json() const;
};

/// Text for logs, results and tags when EngineInfo::synthetic.
inline constexpr const char* synthetic_notice = "synthetic weights: noise";

/// What placeholders of its output stand for.
[[nodiscard]] jobs::OutputNames output_names(const BookRequest& request);

/// Renders @p request into @p output, the folder of which is finished then, but not committed. @p claim and @p progress
/// are filled on the way.
/// @throws std::invalid_argument for a voice that is not loaded; RenderError; Interrupted when @p stop was requested or
/// the engine stopped; storage::TransientError and PermanentError.
[[nodiscard]] BookReport render_book(const Studio& studio, const BookRequest& request, ChunkClaim& claim,
                                     BookOutput& output, const std::shared_ptr<BookProgress>& progress,
                                     std::stop_token stop);

} // namespace audiobookd::daemon
