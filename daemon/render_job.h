// The life of one claimed job, on a thread of its own: read, plan, render, write, publish, report; or fail, or give
// the job back.
//
// All functions may be called from any thread, progress() from one at a time.
#pragma once

#include "daemon/book_renderer.h"
#include "daemon/clip_voices.h"
#include "daemon/eta.h"
#include "jobs/document/document.h"
#include "jobs/queue.h"
#include "storage/mp3_encoder.h"
#include "storage/storage.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace audiobookd::daemon {

/// What a job takes where it does not say otherwise.
struct JobDefaults {
  std::string voice = "default";
  std::filesystem::path voices; ///< folder of the voices that people added, which come before the model's; empty: none
  storage::FormatOptions format;
  std::optional<LoudnessTarget> loudness;
  jobs::Pauses pauses;
  bool normalize = true;       ///< as BookOptions::normalize
  jobs::Words dictionary = {}; ///< how words are said; a job's own comes before it
  BookShape shape = {};
  bool acx = false;        ///< preset acx, of jobs that name no preset
  AcxCredits credits = {}; ///< of preset acx, of jobs that have none of their own
};

/// What jobs work with. Everything outlives them.
struct JobSurroundings {
  jobs::Queue& queue;
  Studio studio;
  const storage::Storage& storage;
  const ClipVoices& clips;
  JobDefaults defaults;
  std::chrono::milliseconds longest_wait{5'000}; ///< before a queue that did not answer is asked again
  std::function<void()> on_end;                  ///< called when a job is over, on its thread; must not throw
};

class RenderJob {
public:
  /// Starts at once. @param most_seconds of audio: a job that is expected to be longer is given back as long.
  RenderJob(jobs::ClaimedJob job, const JobSurroundings& surroundings,
            double most_seconds = std::numeric_limits<double>::infinity());
  /// Waits until the job is over.
  ~RenderJob();
  RenderJob(const RenderJob&) = delete;
  RenderJob& operator=(const RenderJob&) = delete;

  /// The lease is gone: stop, publish nothing, tell the queue nothing.
  void abandon();
  /// The daemon stops now: give the job back unless it is over in this moment. The queue gets one more chance to
  /// answer.
  void hurry();

  [[nodiscard]] bool is_over() const noexcept { return over_; }
  [[nodiscard]] jobs::Progress progress();
  [[nodiscard]] const jobs::Lease& lease() const noexcept { return claimed_.lease; }
  /// From the moment in which a cancellation comes too late.
  [[nodiscard]] bool is_publishing() const noexcept { return publishing_; }

private:
  void run();
  void render_and_publish();
  void choose_shape();
  void render_file();
  void render_folder();
  bool publish_listing(storage::Publication* listing, const std::function<bool()>& still_mine) const;
  [[nodiscard]] bool is_settled();
  void resolve_output();
  [[nodiscard]] jobs::Document read_document() const;
  [[nodiscard]] jobs::Cover read_cover() const;
  void open_request();
  void complete_request();
  void choose_voice(BookRequest& request) const;
  [[nodiscard]] bool output_exists() const;
  [[nodiscard]] bool was_published_before() const;
  [[nodiscard]] BookReport render(BookOutput& output);
  using Commit = std::function<storage::PublishResult(const std::function<bool()>& still_mine)>;
  void publish(const std::string& fingerprint, const Commit& commit, const BookReport& report);
  void complete(const std::string& result);
  void fail(const std::string& error, jobs::FailureKind kind);
  void give_back();
  void give_back_as_long(double seconds);
  void release(const std::function<jobs::LeaseState()>& tell_queue, const std::string& done);
  void check_length(const jobs::Document& document) const;
  void require_held(jobs::LeaseState state) const;
  template <typename Call>
  auto patiently(Call call);

  const jobs::ClaimedJob claimed_;
  const JobSurroundings& with_;
  const double most_seconds_;
  const std::shared_ptr<BookProgress> progress_ = std::make_shared<BookProgress>();
  Eta eta_;
  ChunkClaim claim_;
  std::stop_source stop_;
  std::atomic<bool> abandoned_{false};
  std::atomic<bool> publishing_{false};
  bool published_ = false;
  BookShape shape_;
  bool is_acx_ = false;                // preset acx
  std::string output_;                 // the job's, with what its placeholders stand for
  std::optional<BookRequest> request_; // once the document is read
  std::atomic<bool> over_{false};
  std::mutex mutex_; // of wake_
  std::condition_variable_any wake_;
  std::jthread thread_; // last: uses everything above
};

} // namespace audiobookd::daemon
