// The command's version of what render_job and render_service do for the queue.
#include "daemon/render_command.h"

#include "daemon/engine_thread.h"
#include "daemon/errors.h"
#include "daemon/progress_bar.h"
#include "daemon/voice_folder.h"
#include "jobs/document/chapter_selection.h"
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

jobs::Document read_document(const RenderOptions& options) {
  const jobs::DocumentLimits limits;
  if (options.text) {
    return jobs::parse_document(*options.text, "text.txt", limits);
  }
  const auto absolute = std::filesystem::weakly_canonical(options.input); // a person may link to where he likes
  const storage::LocalStorage storage({.input = absolute.parent_path(), .output = absolute.parent_path()});
  const std::string bytes =
      storage.read_input(absolute.filename().string(), jobs::max_file_bytes(options.input, limits));
  return jobs::parse_document(bytes, options.input, limits);
}

void check_output(const RenderOptions& options) {
  if (!options.replace && std::filesystem::exists(options.output)) {
    throw std::runtime_error("'" + options.output.string() + "' exists already; --force replaces it");
  }
}

std::string claim_name(const std::filesystem::path& output) {
  return "~render-" + engine::HashBuilder().add(std::filesystem::absolute(output).string()).finish().hex();
}

/// As the output's name says; MP3 when it says nothing.
storage::AudioFormat choose_format(const RenderOptions& options) {
  storage::FormatOptions format = options.format;
  const std::string suffix = options.output.extension().string();
  format.codec = storage::codec_named(suffix.substr(suffix.empty() ? 0 : 1)).value_or(format.codec);
  return storage::make_format(format);
}

BookRequest make_request(const RenderOptions& options, jobs::Document document) {
  BookRequest request;
  request.document = std::move(document);
  if (!options.only.empty()) {
    jobs::select_chapters(request.document, jobs::parse_chapter_ranges(options.only));
  }
  request.options = options.book;
  request.format = choose_format(options);
  request.loudness = options.loudness;
  request.fallback_title = (options.text ? options.output : options.input).stem().string();
  return request;
}

void publish(storage::Publication& publication, const RenderOptions& options) {
  const auto if_exists = options.replace ? storage::IfExists::replace : storage::IfExists::fail;
  if (publication.commit(if_exists, {}) == storage::PublishResult::exists) {
    throw std::runtime_error("'" + options.output.string() + "' appeared meanwhile; --force replaces it");
  }
}

} // namespace

BookReport render_file(const RenderOptions& options, const std::function<std::unique_ptr<Renderer>()>& load,
                       const Terminal& terminal, std::stop_token stop) {
  check_output(options);
  BookRequest request = make_request(options, read_document(options));
  const auto publication = storage::FilePublication::at(options.output);
  const std::unique_ptr<Renderer> renderer = load();
  request.narrator = request.options.voice;
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

  ChunkClaim claim(store, claim_name(options.output));
  const auto progress = std::make_shared<BookProgress>();
  try {
    BookReport report;
    {
      const ProgressTicker ticker(terminal, *progress);
      report = render_book({*renderer, pool, store, encoders}, request, claim, *publication, progress,
                           book_stop.get_token());
    }
    publish(*publication, options);
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
