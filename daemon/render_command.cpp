// The command's version of what render_job and render_service do for the queue.
#include "daemon/render_command.h"

#include "daemon/engine_thread.h"
#include "daemon/errors.h"
#include "daemon/fingerprint_sink.h"
#include "daemon/progress_bar.h"
#include "daemon/voice_folder.h"
#include "jobs/document/chapter_selection.h"
#include "jobs/document/cover.h"
#include "jobs/output_name.h"
#include "storage/folder_publisher.h"
#include "storage/local_storage.h"
#include "storage/publisher.h"

#include <condition_variable>
#include <fmt/format.h>
#include <mutex>
#include <ostream>
#include <thread>

namespace audiobookd::daemon {
namespace {

constexpr std::chrono::milliseconds redraw_period{200};
constexpr std::uint64_t store_bytes = std::uint64_t{16} << 30;

/// Draws the bar while it lives.
class ProgressTicker {
public:
  ProgressTicker(const Terminal& terminal, const BookProgress& progress)
      : bar_(terminal.status, terminal.draws_bar, ProgressBar::Clock::now()), thread_([this, &progress](auto stop) {
          std::unique_lock lock(mutex_);
          while (!stop.stop_requested()) {
            bar_.show(progress.fraction(), progress.audio_seconds(), ProgressBar::Clock::now());
            wake_.wait_for(lock, stop, redraw_period, [] { return false; });
          }
          bar_.show(progress.fraction(), progress.audio_seconds(), ProgressBar::Clock::now());
          bar_.finish();
        }) {}

private:
  ProgressBar bar_;
  std::mutex mutex_; // of wake_
  std::condition_variable_any wake_;
  std::jthread thread_; // last: uses everything above
};

/// The whole of a file that a person named.
std::string read_file(const std::filesystem::path& file, std::uint64_t max_bytes) {
  const auto absolute = std::filesystem::weakly_canonical(file); // a person may link to where he likes
  const storage::LocalStorage storage({.input = absolute.parent_path(), .output = absolute.parent_path()});
  return storage.read_input(absolute.filename().string(), max_bytes);
}

jobs::Document read_document(const RenderOptions& options) {
  const jobs::DocumentLimits limits;
  if (options.text) {
    return jobs::parse_document(*options.text, "text.txt", limits);
  }
  return jobs::parse_document(read_file(options.input, jobs::max_file_bytes(options.input, limits)), options.input,
                              limits);
}

jobs::Cover read_cover(const std::filesystem::path& file) {
  const jobs::DocumentLimits limits;
  try {
    return jobs::check_cover(read_file(file, limits.max_cover_bytes), limits);
  } catch (const jobs::DocumentError& error) {
    throw std::runtime_error("--cover: '" + file.string() + "' is no cover: " + error.what());
  }
}

void check_output(const RenderOptions& options, const std::filesystem::path& output) {
  if ((options.shape.is_folder() || options.acx) && jobs::names_audio(output.string())) {
    throw std::runtime_error(
        "'" + output.string() +
        "' is the name of a file, but --split, --layout, --vtt and --preset acx make a folder of several "
        "files; "
        "choose a name without extension");
  }
  if (!options.replace && std::filesystem::exists(output)) {
    throw std::runtime_error("'" + output.string() + "' exists already; --force replaces it");
  }
}

/// What was asked for, with what its placeholders stand for.
std::filesystem::path resolve_output(const RenderOptions& options, const BookRequest& request) {
  const std::string output = options.output.string();
  if (!jobs::has_placeholders(output)) {
    return options.output;
  }
  std::filesystem::path resolved = jobs::expand_output(output, output_names(request));
  if (resolved.has_parent_path()) {
    std::filesystem::create_directories(resolved.parent_path());
  }
  return resolved;
}

std::string claim_name(const std::filesystem::path& output) {
  return "~render-" + engine::HashBuilder().add(std::filesystem::absolute(output).string()).finish().hex();
}

/// As the output's name says; MP3 when it says nothing.
storage::AudioFormat choose_format(const RenderOptions& options) {
  storage::FormatOptions format = options.format;
  const std::string suffix = options.output.extension().string();
  format.codec = storage::codec_named(suffix.substr(suffix.empty() ? 0 : 1)).value_or(format.codec);
  return storage::make_format(options.acx ? acx_format(format) : format);
}

BookRequest make_request(const RenderOptions& options, jobs::Document document) {
  BookRequest request;
  request.document = std::move(document);
  jobs::apply(options.metadata, request.document);
  request.metadata = options.metadata;
  request.title = options.title;
  request.author = options.author;
  if (!options.cover.empty()) {
    request.document.cover = read_cover(options.cover);
  }
  request.shape = options.shape;
  request.shape.split_chapters = options.shape.split_chapters || options.acx;
  request.acx = options.acx;
  request.narrator = options.book.voice;
  if (!options.only.empty()) {
    jobs::select_chapters(request.document, jobs::parse_chapter_ranges(options.only));
  }
  request.options = options.book;
  request.format = choose_format(options);
  request.loudness = options.loudness;
  request.fallback_title = (options.text ? options.output : options.input).stem().string();
  return request;
}

/// Where the book goes, until it is all there.
class Target {
public:
  virtual ~Target() = default;
  virtual BookOutput& output() = 0;
  /// @param report perhaps with a listing, for a book that is one file.
  virtual storage::PublishResult commit(storage::IfExists if_exists, BookReport& report) = 0;
};

class FileTarget final : public Target {
public:
  explicit FileTarget(const std::filesystem::path& file)
      : file_(file), publication_(storage::FilePublication::at(file)) {}
  BookOutput& output() override { return output_; }
  storage::PublishResult commit(storage::IfExists if_exists, BookReport& report) override {
    if (report.listing) {
      report.listing->fingerprint = sink_.fingerprint();
      const std::string json = to_json(*report.listing);
      const auto listing = storage::FilePublication::at(listing_name(file_.string(), false));
      listing->append(std::as_bytes(std::span(json)));
      listing->commit(storage::IfExists::replace, {});
    }
    return publication_->commit(if_exists, {});
  }

private:
  const std::filesystem::path file_;
  std::unique_ptr<storage::FilePublication> publication_;
  FingerprintSink sink_{*publication_};
  SingleFile output_{sink_};
};

class FolderTarget final : public Target {
public:
  explicit FolderTarget(const std::filesystem::path& folder)
      : publication_(storage::LocalFolderPublication::at(folder)) {}
  BookOutput& output() override { return output_; }
  storage::PublishResult commit(storage::IfExists if_exists, BookReport& /*report*/) override {
    return publication_->commit(output_.description(), if_exists, {});
  }

private:
  std::unique_ptr<storage::LocalFolderPublication> publication_;
  BookFolder output_{*publication_};
};

std::unique_ptr<Target> open_target(const std::filesystem::path& output, const BookShape& shape) {
  if (shape.is_folder()) {
    return std::make_unique<FolderTarget>(output.has_filename() ? output : output.parent_path());
  }
  return std::make_unique<FileTarget>(output);
}

void publish(Target& target, const RenderOptions& options, const std::string& output, BookReport& report) {
  const auto if_exists = options.replace ? storage::IfExists::replace : storage::IfExists::fail;
  if (target.commit(if_exists, report) == storage::PublishResult::exists) {
    throw std::runtime_error("'" + output + "' appeared meanwhile; --force replaces it");
  }
}

} // namespace

BookReport render_file(const RenderOptions& options, const std::function<std::unique_ptr<Renderer>()>& load,
                       const Terminal& terminal, std::stop_token stop) {
  const bool is_named = !jobs::has_placeholders(options.output.string());
  if (is_named) {
    check_output(options, options.output);
  }
  BookRequest request = make_request(options, read_document(options));
  const std::filesystem::path output = resolve_output(options, request);
  check_output(options, output);
  request.output = output.string();
  const auto target = open_target(output, request.shape);
  const std::unique_ptr<Renderer> renderer = load();
  request.options.voice = renderer_voice(VoiceFolder(options.voices), request.narrator, *renderer);
  storage::ChunkStore store({.folder = options.chunk_store, .max_bytes = store_bytes});
  storage::WorkerPool encoders(storage::default_worker_threads());
  UtterancePool pool(*renderer, store, pool_options(renderer->info(), options.gates));
  EngineThread engine(*renderer, pool, [] {});
  std::stop_source book_stop; // after the engine's: a book closed before would withdraw what is sound already
  const std::stop_callback interrupt(stop, [&] {
    engine.stop();
    pool.cancel_in_flight();
    book_stop.request_stop();
  });

  ChunkClaim claim(store, claim_name(output));
  const auto progress = std::make_shared<BookProgress>();
  try {
    BookReport report;
    {
      const ProgressTicker ticker(terminal, *progress);
      report = render_book({*renderer, pool, store, encoders}, request, claim, target->output(), progress,
                           book_stop.get_token());
    }
    publish(*target, options, output.string(), report);
    if (!request.shape.is_folder()) {
      report.files.front().name = output.filename().string();
    }
    return report;
  } catch (const Interrupted&) {
    engine.rethrow_failure();
    throw;
  }
}

std::string summarise(const BookReport& report) {
  const engine::EngineStats& stats = report.engine;
  std::string text =
      fmt::format("{} words in {} chapters, {} utterances: {} rendered, {} reused\n"
                  "{} of audio in {:.1f} s: {:.1f} x real time ({}, {})\n"
                  "seconds per stage: prefill {:.2f}, decode {:.2f}, encoder {:.2f}, CFM {:.2f}, vocoder {:.2f}, "
                  "encode {:.2f}\n",
                  report.words, report.chapters, report.utterances, report.rendered,
                  report.utterances - report.rendered, format_duration(report.audio_seconds), report.wall_seconds,
                  report.times_real_time(), report.model, report.device, stats.prefill_seconds, stats.decode_seconds,
                  stats.encoder_seconds, stats.cfm_seconds, stats.vocoder_seconds, report.encode_seconds);
  if (report.files.size() > 1) {
    text += fmt::format("'{}': {} files and their description\n", report.output, report.files.size());
  }
  if (report.acx) {
    text += fmt::format("ACX report: {} (acx-report.txt)\n", report.acx->passes() ? "pass" : "FAIL");
  }
  if (!report.listing_name.empty()) {
    text += fmt::format("listing of its utterances: '{}'\n", report.listing_name);
  }
  if (const std::string gates = report.gates.summary(); !gates.empty()) {
    text += gates + "\n";
  }
  for (const BestEffort& utterance : report.gates.listed) {
    text += "best effort: " + describe(utterance) + "\n";
  }
  if (stats.out_of_memory > 0) {
    text += fmt::format("warning: {}\n", out_of_memory_notice);
  }
  for (const std::string& warning : report.warnings) {
    text += "warning: " + warning + "\n";
  }
  return text;
}

} // namespace audiobookd::daemon
