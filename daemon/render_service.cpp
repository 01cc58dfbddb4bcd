// The loop of the queue's thread, and the orderly end.
#include "daemon/render_service.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <utility>

namespace audiobookd::daemon {
namespace {

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

} // namespace

ServicePeriods scaled_periods(std::chrono::milliseconds heartbeat, double factor) {
  ServicePeriods periods{.heartbeat = heartbeat};
  for (std::chrono::milliseconds* period :
       {&periods.heartbeat, &periods.poll, &periods.upkeep, &periods.first_queue_wait, &periods.longest_queue_wait,
        &periods.longest_job_wait, &periods.review, &periods.standstill}) {
    const auto scaled = std::llround(factor * static_cast<double>(period->count()));
    *period = std::chrono::milliseconds(std::max(1LL, scaled));
  }
  return periods;
}

RenderService::RenderService(const ServiceParts& parts, const ServiceSettings& settings)
    : parts_(parts), periods_(settings.periods), max_jobs_(settings.limits.max_jobs),
      short_jobs_(settings.limits.short_jobs), short_length_(settings.limits.short_length),
      drain_(settings.limits.drain),
      pool_(parts.renderer, parts.store, pool_options(parts.renderer.info(), settings.gates)),
      surroundings_{.queue = parts.queue,
                    .studio = {parts.renderer, pool_, parts.store, parts.encoders},
                    .storage = parts.storage,
                    .clips = parts.clips,
                    .defaults = settings.defaults,
                    .longest_wait = settings.periods.longest_job_wait,
                    .on_end = [this] { notify_changed(); }},
      keeper_(parts.queue, parts.store, periods_.review),
      watch_(parts.queue, periods_.poll, [this] { notify_changed(); }),
      engine_(parts.renderer, pool_, [this] { notify_changed(); }) {}

void RenderService::set_limits(const ServiceLimits& limits) {
  max_jobs_ = limits.max_jobs;
  short_jobs_ = limits.short_jobs;
  short_length_ = limits.short_length;
  drain_ = limits.drain;
}

void RenderService::run(std::stop_token stop) {
  std::exception_ptr failure;
  try {
    serve(stop);
  } catch (const std::exception& error) {
    spdlog::critical("the queue cannot be used: {}", error.what());
    failure = std::current_exception();
  }
  drain();
  release_hanging_jobs();
  open_jobs_.clear();
  say_goodbye();
  engine_.rethrow_failure();
  if (failure) {
    std::rethrow_exception(failure);
  }
}

void RenderService::notify_changed() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void RenderService::serve(std::stop_token stop) {
  while (!stop.stop_requested() && !engine_.has_ended() && !(drained_ && open_jobs_.empty())) {
    try {
      connect();
      maintain_queue();
      heartbeat_when_due();
      claim_jobs(stop);
      wait_for_news(stop);
    } catch (const jobs::QueueUnavailable& error) {
      wait_for_queue(error.what(), stop);
    }
    close_finished_jobs();
    watch_progress();
  }
}

void RenderService::connect() {
  if (connected_) {
    return;
  }
  for (const std::string& warning : parts_.connect_queue()) {
    spdlog::warn("queue: {}", warning);
  }
  connected_ = true;
  queue_wait_ = std::chrono::milliseconds(0);
  next_heartbeat_ = Clock::now(); // leases first: they have aged meanwhile
  spdlog::info("queue: connected");
}

void RenderService::wait_for_queue(const std::string& why, std::stop_token stop) {
  if (queue_wait_.count() == 0) {
    spdlog::warn("waiting for Redis: {}", why);
    parts_.manager.status("waiting for Redis: " + why);
  }
  connected_ = false;
  queue_wait_ = std::clamp(2 * queue_wait_, periods_.first_queue_wait, periods_.longest_queue_wait);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, queue_wait_, [this] { return engine_.has_ended(); });
}

/// A job that is over makes room at once; what is in the queue already, but becomes ready by time or by others, is
/// found by looking now and then.
void RenderService::wait_for_news(const std::stop_token& stop) {
  const auto wake_up = std::min(next_heartbeat_, Clock::now() + periods_.poll);
  watch_.look();
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, stop, wake_up, [&] {
    return watch_.has_news() || engine_.has_ended() || std::ranges::any_of(open_jobs_, &OpenJob::is_over);
  });
}

void RenderService::maintain_queue() {
  for (const jobs::ControlReport& report : parts_.queue.poll_control()) {
    spdlog::info("control: {} {}: {}", report.command, report.subject, report.outcome);
  }
  for (const jobs::IntakeReport& report : parts_.queue.intake()) {
    spdlog::info("job {}: {} in queue {} {}", report.id, report.state, report.queue, report.reason);
  }
  if (Clock::now() < next_upkeep_) {
    return;
  }
  next_upkeep_ = Clock::now() + periods_.upkeep;
  parts_.queue.promote();
  for (const jobs::ReclaimReport& report : parts_.queue.reclaim()) {
    spdlog::warn("job {}: its worker {} is silent, now {}", report.id, report.owner, report.state);
  }
  keeper_.keep_up([this](const std::string& id) { return is_open(id); });
}

bool RenderService::is_open(const std::string& id) const {
  return std::ranges::any_of(open_jobs_, [&](const OpenJob& open) { return open.job->lease().id == id; });
}

void RenderService::claim_jobs(const std::stop_token& stop) {
  for (const auto& [place, places] :
       {std::pair(Place::any_length, max_jobs_.load()), std::pair(Place::short_only, short_jobs_.load())}) {
    while (!stop.stop_requested() && !engine_.has_ended() && !drained_ && claim_one(place, places)) {
    }
  }
}

/// @return whether there was room and a job for it.
bool RenderService::claim_one(Place place, int places) {
  const auto& queues = jobs::QueueCounts::names;
  const auto rank = lowest_rank_with_room(place, places);
  if (!rank) {
    return false;
  }
  const bool is_short = place == Place::short_only;
  auto claimed = is_short ? parts_.queue.claim_short(queues[*rank]) : parts_.queue.claim(queues[*rank]);
  if (!claimed) {
    return false;
  }
  const std::size_t own_rank =
      claimed->overdue ? 0 : static_cast<std::size_t>(std::ranges::find(queues, claimed->queue) - queues.begin());
  constexpr double no_limit = std::numeric_limits<double>::infinity();
  const double most_seconds = is_short ? std::chrono::duration<double>(short_length_.load()).count() : no_limit;
  open_jobs_.push_back(
      {std::make_unique<RenderJob>(std::move(*claimed), surroundings_, most_seconds), place, own_rank});
  return true;
}

/// Of the queues from which a job would find a place: those below do not count.
std::optional<std::size_t> RenderService::lowest_rank_with_room(Place place, int places) const {
  std::optional<std::size_t> lowest;
  for (std::size_t rank = 0; rank < jobs::QueueCounts::names.size(); ++rank) {
    const auto taken = std::ranges::count_if(
        open_jobs_, [&](const OpenJob& open) { return open.place == place && open.rank <= rank; });
    if (taken < places) {
      lowest = rank;
    }
  }
  return lowest;
}

void RenderService::heartbeat_when_due() {
  if (Clock::now() < next_heartbeat_) {
    return;
  }
  next_heartbeat_ = Clock::now() + periods_.heartbeat;
  if (parts_.queue.announce(describe_worker()) == jobs::WorkerOrder::drain && !std::exchange(drained_, true)) {
    spdlog::info("told to drain: {} jobs open, then this worker ends", open_jobs_.size());
  }
  for (OpenJob& open : open_jobs_) {
    heartbeat(open);
  }
  parts_.manager.status(describe_progress());
}

void RenderService::heartbeat(OpenJob& open) {
  RenderJob& job = *open.job;
  if (job.is_over()) {
    return;
  }
  const jobs::Progress progress = job.progress();
  const jobs::LeaseState state = parts_.queue.heartbeat(job.lease(), progress);
  if (state != jobs::LeaseState::held) {
    job.abandon();
    return;
  }
  open.fraction = progress.fraction;
  const int tenths = static_cast<int>(std::floor(progress.fraction * 10));
  if (tenths > open.logged_tenths) {
    open.logged_tenths = tenths;
    spdlog::info("job {}: {:.0f} %, {} s left", job.lease().id, 100 * progress.fraction,
                 progress.eta_s ? fmt::format("{:.0f}", *progress.eta_s) : "?");
  }
}

void RenderService::close_finished_jobs() { std::erase_if(open_jobs_, std::mem_fn(&OpenJob::is_over)); }

void RenderService::watch_progress() {
  const engine::EngineStats stats = parts_.renderer.stats();
  if (stats.out_of_memory > 0 && !std::exchange(memory_ran_out_, true)) {
    spdlog::warn("{}", out_of_memory_notice);
  }
  std::vector<DeviceActivity> devices = parts_.renderer.activity();
  if (devices.empty()) {
    devices.push_back({.in_flight = pool_.in_flight(), .advances = stats.decode_steps + pool_.deliveries()});
  }
  watches_.resize(devices.size(), ProgressWatch(periods_.standstill));
  bool all_alive = true;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    all_alive = watches_[i].is_alive(devices[i].in_flight, devices[i].advances, Clock::now()) && all_alive;
  }
  if (all_alive) {
    parts_.manager.feed_watchdog();
  }
}

void RenderService::drain() {
  const auto time = drain_.load();
  spdlog::info("stopping: {} jobs open, up to {} ms for what is in flight", open_jobs_.size(), time.count());
  engine_.stop();
  parts_.manager.stopping();
  await_open_jobs(Clock::now() + time);
  pool_.cancel_in_flight();
  for (OpenJob& open : open_jobs_) {
    open.job->hurry();
  }
}

void RenderService::await_open_jobs(Clock::time_point deadline) {
  while (Clock::now() < deadline) {
    {
      const auto wake_up = std::min({deadline, next_heartbeat_, Clock::now() + periods_.poll});
      std::unique_lock lock(mutex_);
      const auto is_pointless = [&] {
        return engine_.has_failed() || std::ranges::all_of(open_jobs_, &OpenJob::is_over);
      };
      if (changed_.wait_until(lock, wake_up, is_pointless)) {
        return;
      }
    }
    try {
      heartbeat_when_due();
    } catch (const std::exception& error) {
      spdlog::warn("no heartbeat while stopping: {}", error.what());
    }
    watch_progress();
  }
}

/// A thread that hangs in its storage must not keep the daemon from ending in an orderly way for everything else.
void RenderService::release_hanging_jobs() {
  {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, periods_.hang, [&] { return std::ranges::all_of(open_jobs_, &OpenJob::is_over); })) {
      return;
    }
  }
  for (const OpenJob& open : open_jobs_) {
    if (open.is_over()) {
      continue;
    }
    const jobs::Lease& lease = open.job->lease();
    spdlog::critical("job {}: its thread hangs, probably in its input or output", lease.id);
    try {
      if (!open.job->is_publishing()) { // else its output may appear any moment: left to its lease
        parts_.queue.release(lease);
      }
    } catch (const std::exception& error) {
      spdlog::error("job {}: left to its lease, the queue was not told: {}", lease.id, error.what());
    }
  }
  say_goodbye();
  try {
    parts_.store.sync();
  } catch (const std::exception& error) {
    spdlog::error("chunk store: {}", error.what());
  }
  parts_.give_up();
}

void RenderService::say_goodbye() {
  try {
    parts_.queue.retire();
  } catch (const std::exception& error) {
    spdlog::warn("the queue was not told that this worker left: {}", error.what());
  }
}

std::string RenderService::describe_progress() const {
  if (open_jobs_.empty()) {
    return "idle";
  }
  double sum = 0;
  for (const OpenJob& open : open_jobs_) {
    sum += open.fraction;
  }
  return fmt::format("{}jobs open: {}, on average {:.0f} % done; utterances in flight: {}",
                     drained_ ? "draining; " : "", open_jobs_.size(),
                     100 * sum / static_cast<double>(open_jobs_.size()), pool_.in_flight());
}

std::string RenderService::describe_worker() const {
  const engine::EngineInfo& info = parts_.renderer.info();
  return nlohmann::json{{"host", host_name()},
                        {"pid", getpid()},
                        {"model", info.model},
                        {"device", info.device},
                        {"dtype", info.dtype},
                        {"synthetic", info.synthetic},
                        {"jobs", open_jobs_.size()},
                        {"max_jobs", max_jobs_.load()},
                        {"short_jobs", short_jobs_.load()}}
      .dump();
}

} // namespace audiobookd::daemon
