// One job from claim to the last word with the queue.
#include "daemon/render_job.h"

#include "daemon/errors.h"
#include "daemon/fingerprint_sink.h"
#include "daemon/voice_folder.h"
#include "jobs/document/cover.h"
#include "jobs/job.h"
#include "jobs/output_name.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

namespace audiobookd::daemon {
namespace {

constexpr std::chrono::milliseconds first_wait{100};
/// For room in the chunk store that other jobs hold; then the attempt has failed.
constexpr std::chrono::minutes room_patience{10};

/// Before what priority_of() gives to any queue.
constexpr int interactive_priority = -1;

/// The queue said that the job is not ours any more.
class LeaseGone : public std::exception {};

/// The job is longer than there is room for.
struct TooLong : std::exception {
  explicit TooLong(double predicted_seconds) : seconds(predicted_seconds) {}
  double seconds;
};

std::string short_result(const char* field) { return nlohmann::json{{field, true}}.dump(); }

/// As long a result as can be known of a book that an earlier run has published.
std::string result_of_published(const std::string& output, const BookShape& shape) {
  nlohmann::json result = {{"published_by_earlier_attempt", true}, {"output", output}};
  if (shape.listing) {
    result["listing"] = listing_name(output, shape.is_folder());
  }
  return result.dump();
}

std::string exists_message(const std::string& output) {
  return "output '" + output + "' exists already; \"if_exists\" may be \"replace\" or \"skip\"";
}

storage::IfExists to_storage(jobs::IfExists if_exists) {
  switch (if_exists) {
  case jobs::IfExists::replace: return storage::IfExists::replace;
  case jobs::IfExists::skip: return storage::IfExists::skip;
  case jobs::IfExists::fail: break;
  }
  return storage::IfExists::fail;
}

double seconds_or(std::optional<int> milliseconds, double fallback) {
  return milliseconds ? *milliseconds / 1000.0 : fallback;
}

jobs::Pauses merge(const jobs::JobPauses& wanted, const jobs::Pauses& fallback) {
  return {.sentence_s = seconds_or(wanted.sentence_ms, fallback.sentence_s),
          .paragraph_s = seconds_or(wanted.paragraph_ms, fallback.paragraph_s),
          .scene_s = seconds_or(wanted.scene_ms, fallback.scene_s),
          .chapter_s = seconds_or(wanted.chapter_ms, fallback.chapter_s)};
}

/// What the job says; else what its output's name says; else the worker's.
storage::AudioFormat choose_format(const jobs::Job& job, const storage::FormatOptions& fallback) {
  const jobs::JobFormat& wanted = job.format;
  storage::FormatOptions options = fallback;
  if (const auto codec = storage::codec_named(jobs::codec_of(job)); codec && *codec != fallback.codec) {
    options = {.codec = *codec};
  }
  if (wanted.bitrate_kbps || wanted.vbr_quality) {
    options.bitrate_kbps = wanted.bitrate_kbps;
    options.vbr_quality = wanted.vbr_quality;
  }
  options.sample_rate = wanted.sample_rate ? wanted.sample_rate : options.sample_rate;
  options.id3v2_version = wanted.id3v2_version ? wanted.id3v2_version : options.id3v2_version;
  return storage::make_format(options);
}

/// What the job asks for besides a preset that is the worker's. @throws jobs::JobError naming what contradicts it.
void check_acx(const jobs::Job& job) {
  const char* const way_out = "; this worker's preset is acx, \"format\": {\"preset\": \"none\"} does without";
  if (!job.files.split_chapters.value_or(true)) {
    throw jobs::JobError("field 'split': \"single\" contradicts the preset acx" + std::string(way_out));
  }
  const double tail_s = job.pauses.chapter_ms.value_or(2000) / 1000.0;
  if (acx_tail_s(tail_s) != tail_s) {
    throw jobs::JobError("field 'pauses.chapter_ms': " + std::to_string(*job.pauses.chapter_ms) +
                         " contradicts the preset acx, expected 1000 to 5000" + way_out);
  }
}

/// @throws jobs::JobError naming what contradicts the preset.
storage::AudioFormat choose_acx_format(const jobs::Job& job, const storage::FormatOptions& fallback) {
  const jobs::JobFormat& wanted = job.format;
  storage::FormatOptions options;
  if (fallback.codec == storage::Codec::mp3) {
    options.quality = fallback.quality;
    options.id3v2_version = fallback.id3v2_version;
    options.bitrate_kbps =
        fallback.bitrate_kbps.value_or(0) >= AcxLimits::least_kbps ? fallback.bitrate_kbps : std::nullopt;
  }
  options.codec = storage::codec_named(wanted.codec).value_or(storage::Codec::mp3);
  options.sample_rate = wanted.sample_rate;
  options.bitrate_kbps = wanted.bitrate_kbps ? wanted.bitrate_kbps : options.bitrate_kbps;
  options.vbr_quality = wanted.vbr_quality;
  options.id3v2_version = wanted.id3v2_version ? wanted.id3v2_version : options.id3v2_version;
  try {
    return storage::make_format(acx_format(options));
  } catch (const storage::PermanentError& error) {
    throw jobs::JobError(std::string("field 'format': ") + error.what() +
                         "; \"preset\": \"none\" does without the worker's preset");
  }
}

AcxCredits merge(const jobs::JobCredits& wanted, const AcxCredits& fallback) {
  return {.opening = wanted.opening.empty() ? fallback.opening : wanted.opening,
          .closing = wanted.closing.empty() ? fallback.closing : wanted.closing};
}

BookShape merge(const jobs::JobFiles& wanted, const BookShape& fallback) {
  return {.split_chapters = wanted.split_chapters.value_or(fallback.split_chapters),
          .audiobookshelf = wanted.audiobookshelf.value_or(fallback.audiobookshelf),
          .subtitles = wanted.subtitles.value_or(fallback.subtitles),
          .listing = wanted.listing.value_or(fallback.listing)};
}

/// Smaller is served first. @param queue one of QueueCounts::names.
int priority_of(std::string_view queue) {
  const auto& names = jobs::QueueCounts::names;
  return static_cast<int>(std::ranges::find(names, queue) - names.begin());
}

void check_model(const jobs::Job& job, const engine::EngineInfo& info) {
  if (!job.model.empty() && job.model != info.model) {
    throw jobs::JobError("field 'model': '" + job.model + "' is not loaded, this daemon renders with '" + info.model +
                         "'");
  }
  if (job.language.substr(0, job.language.find('-')) != "en") {
    throw jobs::JobError("field 'language': '" + job.language + "' is not spoken by '" + info.model +
                         "'; supported: en (English)");
  }
}

} // namespace

RenderJob::RenderJob(jobs::ClaimedJob job, const JobSurroundings& surroundings, double most_seconds)
    : claimed_(std::move(job)), with_(surroundings), most_seconds_(most_seconds),
      claim_(surroundings.studio.store, claimed_.job.id, room_patience), thread_([this] { run(); }) {}

RenderJob::~RenderJob() = default;

void RenderJob::abandon() {
  abandoned_ = true;
  stop_.request_stop();
}

void RenderJob::hurry() { stop_.request_stop(); }

jobs::Progress RenderJob::progress() {
  const double fraction = progress_->fraction();
  return {
      .fraction = fraction, .eta_s = eta_.update(fraction, Eta::Clock::now()), .first_audio = progress_->first_audio()};
}

/// Repeats @p call while the queue is unavailable. Once the job is to stop, the next such answer is thrown.
template <typename Call>
auto RenderJob::patiently(Call call) {
  for (std::chrono::milliseconds wait = first_wait;; wait = std::min(2 * wait, with_.longest_wait)) {
    try {
      return call();
    } catch (const jobs::QueueUnavailable&) {
      if (stop_.stop_requested()) {
        throw;
      }
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, stop_.get_token(), wait, [] { return false; });
    }
  }
}

void RenderJob::run() {
  using enum jobs::FailureKind;
  const std::string& id = claimed_.job.id;
  spdlog::info("job {}: attempt {}{}", id, claimed_.lease.attempt, claimed_.lease.suspect ? ", suspect" : "");
  try {
    render_and_publish();
  } catch (const LeaseGone&) {
    spdlog::warn("job {}: the lease is gone, {} by this run", id,
                 published_ ? "after the output was published" : "nothing was published");
  } catch (const DeviceFailure& error) {
    fail(error.what(), crash);
  } catch (const Interrupted&) {
    give_back();
  } catch (const storage::StoppedError&) {
    give_back();
  } catch (const TooLong& job) {
    give_back_as_long(job.seconds);
  } catch (const jobs::QueueUnavailable& error) {
    claim_.leave();
    spdlog::error("job {}: left to its lease, the queue does not answer: {}", id, error.what());
  } catch (const jobs::JobError& error) {
    fail(error.what(), permanent);
  } catch (const jobs::DocumentError& error) {
    fail(error.what(), permanent);
  } catch (const storage::PermanentError& error) {
    fail(error.what(), permanent);
  } catch (const std::invalid_argument& error) { // a voice that is not loaded
    fail(error.what(), permanent);
  } catch (const RenderError& error) {
    fail(error.what(), permanent);
  } catch (const std::exception& error) {
    fail(error.what(), transient);
  }
  over_ = true;
  with_.on_end();
}

void RenderJob::render_and_publish() {
  check_model(claimed_.job, with_.studio.renderer.info());
  choose_shape();
  resolve_output();
  shape_.is_folder() ? render_folder() : render_file();
}

void RenderJob::choose_shape() {
  const jobs::Job& job = claimed_.job;
  shape_ = merge(job.files, with_.defaults.shape);
  is_acx_ = job.format.preset.empty() ? with_.defaults.acx : job.format.preset == "acx";
  if (is_acx_) {
    check_acx(job);
    shape_.split_chapters = true;
  } else if (!job.credits.opening.empty() || !job.credits.closing.empty()) {
    throw jobs::JobError("field 'credits': they are made with \"format\": {\"preset\": \"acx\"} only");
  }
}

/// The output has a name before the document is read, if it can.
void RenderJob::resolve_output() {
  output_ = claimed_.job.output;
  if (jobs::has_placeholders(output_)) {
    open_request();
    output_ = jobs::expand_output(output_, output_names(*request_));
  }
  if (shape_.is_folder() && jobs::names_audio(output_)) {
    throw jobs::JobError("field 'output': '" + output_ +
                         "' is the name of a file, but it is to be a folder of several files (`split`, `layout`, "
                         "`subtitles`, a preset, or this worker's [output]); choose a name without extension");
  }
}

void RenderJob::render_file() {
  // From here on no earlier run of this job publishes anything: what it did publish is seen below.
  const auto publication = with_.storage.open_output(output_, claimed_.job.id, stop_.get_token());
  const auto beside = shape_.listing
                          ? with_.storage.open_output(listing_name(output_, false), claimed_.job.id, stop_.get_token())
                          : nullptr;
  if (is_settled()) {
    return;
  }
  FingerprintSink sink(*publication);
  SingleFile file(sink);
  BookReport report = render(file);
  report.files.front().name = std::filesystem::path(output_).filename().string();
  publication->note_fingerprint(sink.fingerprint());
  if (report.listing) {
    report.listing->fingerprint = sink.fingerprint();
    const std::string json = to_json(*report.listing);
    beside->append(std::as_bytes(std::span(json)));
    report.listing.reset();
  }
  publish(
      sink.fingerprint(),
      [&](const auto& still_mine) {
        return publish_listing(beside.get(), still_mine)
                   ? publication->commit(to_storage(claimed_.job.if_exists), still_mine)
                   : storage::PublishResult::lost;
      },
      report);
}

/// Before the book, so that no book is without. One that is to stay keeps its own. @return false if the lease is gone
bool RenderJob::publish_listing(storage::Publication* listing, const std::function<bool()>& still_mine) const {
  if (listing == nullptr || (claimed_.job.if_exists != jobs::IfExists::replace && output_exists())) {
    return true;
  }
  return listing->commit(storage::IfExists::replace, still_mine) != storage::PublishResult::lost;
}

void RenderJob::render_folder() {
  const auto publication = with_.storage.open_folder(output_, claimed_.job.id, stop_.get_token());
  if (is_settled()) {
    return;
  }
  BookFolder folder(*publication);
  const BookReport report = render(folder);
  publication->note_fingerprint(folder.fingerprint());
  publish(
      folder.fingerprint(),
      [&](const auto& still_mine) {
        return publication->commit(folder.description(), to_storage(claimed_.job.if_exists), still_mine);
      },
      report);
}

/// Whether there is nothing to render, and the queue knows it.
bool RenderJob::is_settled() {
  const jobs::IfExists if_exists = claimed_.job.if_exists;
  if (was_published_before()) {
    complete(result_of_published(output_, shape_));
    return true;
  }
  if (if_exists == jobs::IfExists::replace || !output_exists()) {
    return false;
  }
  if (if_exists == jobs::IfExists::fail) {
    throw storage::PermanentError(exists_message(output_));
  }
  complete(short_result("skipped"));
  return true;
}

BookReport RenderJob::render(BookOutput& output) {
  open_request();
  complete_request();
  return render_book(with_.studio, *request_, claim_, output, progress_, stop_.get_token());
}

jobs::Document RenderJob::read_document() const {
  const jobs::DocumentLimits limits;
  const jobs::Job& job = claimed_.job;
  if (job.text) {
    return jobs::parse_document(*job.text, "text.txt", limits);
  }
  const std::string bytes =
      with_.storage.read_input(job.input, jobs::max_file_bytes(job.input, limits), stop_.get_token());
  return jobs::parse_document(bytes, job.input, limits);
}

/// What is said is what makes it long: neither pauses nor what the chunk store has already are counted.
void RenderJob::check_length(const jobs::Document& document) const {
  if (most_seconds_ == std::numeric_limits<double>::infinity()) {
    return;
  }
  const Renderer& renderer = with_.studio.renderer;
  double tokens = 0;
  for (const jobs::Chapter& chapter : document.chapters) {
    for (const jobs::Paragraph& paragraph : chapter.paragraphs) {
      tokens += renderer.predict_tokens(paragraph.text);
    }
  }
  const double seconds = tokens / renderer.info().tokens_per_second;
  if (seconds > most_seconds_) {
    throw TooLong(seconds);
  }
}

jobs::Cover RenderJob::read_cover() const {
  const jobs::DocumentLimits limits;
  const std::string& name = claimed_.job.cover;
  try {
    return jobs::check_cover(with_.storage.read_input(name, limits.max_cover_bytes, stop_.get_token()), limits);
  } catch (const jobs::DocumentError& error) {
    throw jobs::JobError("field 'cover': '" + name + "' is no cover: " + error.what());
  } catch (const storage::PermanentError& error) {
    throw jobs::JobError(std::string("field 'cover': ") + error.what());
  }
}

/// Reads the document and what the job says about it.
void RenderJob::open_request() {
  if (request_) {
    return;
  }
  const jobs::Job& job = claimed_.job;
  BookRequest request;
  request.document = read_document();
  jobs::apply(job.metadata, request.document);
  request.metadata = job.metadata;
  request.title = job.title;
  request.author = job.author;
  const bool is_named = !jobs::has_placeholders(job.output); // else by the document, or not at all
  const std::filesystem::path named = is_named ? job.output : job.input;
  request.fallback_title = (is_named && shape_.is_folder() ? named.filename() : named.stem()).string();
  request_ = std::move(request);
}

void RenderJob::complete_request() {
  const jobs::Job& job = claimed_.job;
  BookRequest& request = *request_;
  if (!job.cover.empty()) {
    request.document.cover = read_cover();
  }
  jobs::select_chapters(request.document, job.chapters);
  check_length(request.document);
  request.options = {.language = job.language,
                     .params = job.params,
                     .pauses = merge(job.pauses, with_.defaults.pauses),
                     .normalize = job.normalize.value_or(with_.defaults.normalize),
                     .dictionaries = {with_.defaults.dictionary, job.dictionary},
                     .is_interactive = job.job_class == jobs::JobClass::interactive};
  choose_voice(request);
  if (is_acx_) {
    request.format = choose_acx_format(job, with_.defaults.format);
    request.acx = merge(job.credits, with_.defaults.credits);
  } else {
    request.format = choose_format(job, with_.defaults.format);
  }
  request.loudness = with_.defaults.loudness;
  request.shape = shape_;
  request.redo = job.redo;
  request.output = output_;
  request.job = job.id;
  request.payload = claimed_.payload;
  const std::string_view queue = claimed_.overdue ? jobs::QueueCounts::names.front() : std::string_view(claimed_.queue);
  request.priority = request.options.is_interactive ? interactive_priority : priority_of(queue);
}

/// Makes the job's voice known to the renderer, preparing its clip if it names one.
void RenderJob::choose_voice(BookRequest& request) const {
  const jobs::Job& job = claimed_.job;
  Renderer& renderer = with_.studio.renderer;
  if (job.voice_clip.empty()) {
    request.narrator = job.voice.empty() ? with_.defaults.voice : job.voice;
    request.options.voice = renderer_voice(VoiceFolder(with_.defaults.voices), request.narrator, renderer);
    return;
  }
  const ClonedVoice cloned = with_.clips.voice_of(with_.storage, job.voice_clip, renderer.info(), stop_.get_token());
  request.narrator = std::filesystem::path(job.voice_clip).stem().string();
  request.options.voice = renderer.add_voice(cloned.voice.conditionals);
  for (const std::string& warning : cloned.warnings) {
    request.document.warnings.push_back("'" + job.voice_clip + "': " + warning);
  }
}

bool RenderJob::output_exists() const {
  const std::stop_token stop = stop_.get_token();
  // on S3 a folder is what lies below its name
  return with_.storage.output_exists(output_, stop) ||
         (shape_.is_folder() &&
          with_.storage.output_exists(output_ + "/" + storage::FolderPublication::description_name, stop));
}

bool RenderJob::was_published_before() const {
  if (claimed_.previous_commit.empty() || !output_exists()) {
    return false;
  }
  try {
    const std::stop_token stop = stop_.get_token();
    const std::string fingerprint = shape_.is_folder() ? fingerprint_of_folder(with_.storage, output_, stop)
                                                       : fingerprint_of(with_.storage, output_, stop);
    return fingerprint == claimed_.previous_commit;
  } catch (const storage::PermanentError&) { // not a file or folder of ours, or not ours to read
    return false;
  }
}

void RenderJob::publish(const std::string& fingerprint, const Commit& commit, const BookReport& report) {
  const jobs::Lease& lease = claimed_.lease;
  require_held(patiently([&] { return with_.queue.begin_commit(lease, fingerprint); }));
  publishing_ = true;
  const auto still_mine = [&] {
    return !abandoned_ &&
           patiently([&] { return with_.queue.heartbeat(lease, {.fraction = 1}); }) == jobs::LeaseState::held;
  };
  switch (commit(still_mine)) {
  case storage::PublishResult::published: published_ = true; [[fallthrough]];
  case storage::PublishResult::identical: complete(report.to_json()); return;
  case storage::PublishResult::skipped: complete(short_result("skipped")); return;
  case storage::PublishResult::exists: throw storage::PermanentError(exists_message(output_));
  case storage::PublishResult::lost: throw LeaseGone();
  }
}

void RenderJob::complete(const std::string& result) {
  require_held(patiently([&] { return with_.queue.complete(claimed_.lease, result); }));
  spdlog::info("job {}: done {}", claimed_.job.id, result);
}

void RenderJob::fail(const std::string& error, jobs::FailureKind kind) {
  const std::string& id = claimed_.job.id;
  try {
    switch (patiently([&] { return with_.queue.fail(claimed_.lease, error, kind); })) {
    case jobs::FailureOutcome::retry:
      claim_.leave(); // what is rendered already is wanted again
      spdlog::warn("job {}: will be tried again: {}", id, error);
      break;
    case jobs::FailureOutcome::dead: spdlog::error("job {}: dead: {}", id, error); break;
    case jobs::FailureOutcome::cancelled: spdlog::info("job {}: cancelled", id); break;
    case jobs::FailureOutcome::lost: spdlog::warn("job {}: failed after its lease was lost: {}", id, error); break;
    }
  } catch (const std::exception& queue_error) {
    spdlog::error("job {}: failed ({}), but the queue was not told: {}", id, error, queue_error.what());
  }
}

void RenderJob::give_back() {
  const std::string& id = claimed_.job.id;
  if (abandoned_) {
    spdlog::warn("job {}: abandoned, nothing was published", id);
    return;
  }
  claim_.leave();
  release([&] { return with_.queue.release(claimed_.lease); }, "released");
}

void RenderJob::give_back_as_long(double seconds) {
  release([&] { return with_.queue.release_as_long(claimed_.lease); },
          fmt::format("about {:.0f} minutes long, waits for a place of a long job", seconds / 60));
}

/// @param done what the log says once the queue was told.
void RenderJob::release(const std::function<jobs::LeaseState()>& tell_queue, const std::string& done) {
  const std::string& id = claimed_.job.id;
  try {
    patiently(tell_queue);
    spdlog::info("job {}: {}", id, done);
  } catch (const std::exception& error) {
    spdlog::error("job {}: left to its lease, the queue was not told: {}", id, error.what());
  }
}

void RenderJob::require_held(jobs::LeaseState state) const {
  if (state != jobs::LeaseState::held) {
    throw LeaseGone();
  }
}

} // namespace audiobookd::daemon
