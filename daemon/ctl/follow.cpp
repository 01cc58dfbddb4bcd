// See follow.h.
#include "daemon/ctl/follow.h"

#include <algorithm>
#include <array>
#include <memory>
#include <thread>
#include <utility>

namespace audiobookd::daemon {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

class Follower {
public:
  Follower(jobs::QueueClient& client, std::vector<FollowedJob> jobs, FollowView& view, const FollowOptions& options)
      : client_(client), jobs_(std::move(jobs)), view_(view), options_(options), start_(Clock::now()) {}

  ExitStatus run() {
    look();
    while (!all_ended()) {
      if (options_.timeout && Clock::now() - start_ >= *options_.timeout) {
        view_.say("still not at the end; gave up watching");
        return ExitStatus::not_carried_out;
      }
      try {
        await_news();
        look();
      } catch (const jobs::QueueUnavailable& error) {
        lose_redis(error.what());
      }
    }
    return result();
  }

private:
  [[nodiscard]] bool all_ended() const {
    return std::ranges::none_of(jobs_, [](const FollowedJob& job) { return job.end.empty(); });
  }

  void look() {
    if (!subscription_) { // before the first look, so that nothing falls in between
      std::vector<std::string> ids;
      std::ranges::transform(jobs_, std::back_inserter(ids), &FollowedJob::id);
      subscription_ = client_.subscribe(ids);
    }
    for (FollowedJob& job : jobs_) {
      if (job.end.empty()) {
        refresh(job);
      }
    }
    is_away_ = false;
    view_.show(jobs_);
    notice_absent_workers();
  }

  /// Waits for a message or for the period, and takes all messages that are there.
  void await_news() {
    if (!subscription_) {
      return;
    }
    milliseconds time = options_.period;
    if (options_.timeout) {
      time = std::min(time, std::chrono::ceil<milliseconds>(start_ + *options_.timeout - Clock::now()));
    }
    if (subscription_->next(time)) {
      while (subscription_->next(milliseconds(0))) {
      }
    }
  }

  void refresh(FollowedJob& job) {
    std::optional<jobs::JobRecord> record = job.record || job.entry.empty() ? client_.find(job.id) : find_added(job);
    if (record) {
      job.end = record->has_ended() ? std::string(record->state()) : std::string();
      job.record = std::move(record);
    } else if (job.record) {
      job.end = "purged";
    } else if (job.entry.empty() && client_.count_untaken() == 0 && !client_.find(job.id)) {
      throw NoSuchJob("no such job: " + job.id);
    }
  }

  /// The record of a job that was just added: that with its entry. Two queues may have an entry of the same id.
  std::optional<jobs::JobRecord> find_added(FollowedJob& job) {
    for (const std::string& id : {job.id, job.id + "." + job.queue}) {
      auto record = client_.find(id);
      if (record && record->text("entry") == job.entry && record->text("queue") == job.queue) {
        job.id = id;
        return record;
      }
    }
    for (const jobs::JobEvent& event : client_.events_of(job.id, job.entry)) {
      if (event.event == "duplicate") {
        job.end = "duplicate";
        job.of = event.detail;
      }
    }
    return std::nullopt;
  }

  /// Says once that nobody is there to work.
  void notice_absent_workers() {
    const bool waits = std::ranges::any_of(jobs_, [](const FollowedJob& job) {
      return job.end.empty() && (!job.record || job.record->state() == "queued");
    });
    if (!waits || has_said_nobody_) {
      return;
    }
    const auto workers = client_.workers();
    if (std::ranges::none_of(workers, &jobs::WorkerRecord::is_alive)) {
      has_said_nobody_ = true;
      view_.say("no worker is alive; the job waits until one is");
    }
  }

  void lose_redis(const std::string& why) {
    if (!std::exchange(is_away_, true)) {
      view_.say("waiting for Redis: " + why);
    }
    subscription_.reset();
    std::this_thread::sleep_for(options_.period); // before the next attempt to connect
  }

  [[nodiscard]] ExitStatus result() const {
    constexpr std::array<std::pair<std::string_view, ExitStatus>, 4> worst_first = {
        {{"dead", ExitStatus::job_dead},
         {"cancelled", ExitStatus::job_cancelled},
         {"purged", ExitStatus::no_such_job},
         {"duplicate", ExitStatus::failed}}};
    for (const auto& [end, status] : worst_first) {
      if (std::ranges::any_of(jobs_, [&, name = end](const FollowedJob& job) { return job.end == name; })) {
        return status;
      }
    }
    return ExitStatus::done;
  }

  jobs::QueueClient& client_;
  std::vector<FollowedJob> jobs_;
  FollowView& view_;
  const FollowOptions options_;
  const Clock::time_point start_;
  std::unique_ptr<jobs::JobSubscription> subscription_;
  bool is_away_ = false; ///< Redis, and it was said
  bool has_said_nobody_ = false;
};

} // namespace

ExitStatus follow(jobs::QueueClient& client, std::vector<FollowedJob> jobs, FollowView& view,
                  const FollowOptions& options) {
  return Follower(client, std::move(jobs), view, options).run();
}

} // namespace audiobookd::daemon
