// See redis_queue.h. What a call means in Redis is in jobs/lua/*.lua; here are arguments, replies and bookkeeping.
#include "jobs/redis_queue.h"

#include "jobs/redis_protocol.h"
#include "jobs/redis_script.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <sys/random.h>
#include <system_error>
#include <utility>

namespace audiobookd::jobs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view intake_batch = "16"; // entries of up to 4 MiB each
constexpr std::string_view purged_batch = "1000";

std::string random_hex() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    throw std::system_error(errno, std::generic_category(), "getrandom");
  std::string hex;
  for (const unsigned char byte : bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    hex += digits[byte >> 4];
    hex += digits[byte & 15];
  }
  return hex;
}

/// Fills in the worker's name and refuses settings that cannot work.
RedisQueueSettings checked(RedisQueueSettings settings) {
  if (settings.worker.empty())
    settings.worker = "w-" + random_hex();
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool is_version_queue = settings.worker.size() > 1 && settings.worker[0] == 'v' &&
                                std::all_of(settings.worker.begin() + 1, settings.worker.end(), is_digit);
  if (!is_valid_job_id(settings.worker) || is_version_queue || settings.worker == "released" ||
      settings.worker == "long" || settings.worker == "suspect" || settings.worker == "parked")
    throw QueueError("worker name \"" + settings.worker +
                     "\" is not allowed: expected [A-Za-z0-9_.-]{1,128}, and not "
                     "one of the protocol's own (released, long, suspect, parked, v2, ...)");
  if (settings.heartbeat.count() <= 0 || settings.lease < 3 * settings.heartbeat)
    throw QueueError("lease of " + std::to_string(settings.lease.count()) +
                     " ms: expected at least three times the "
                     "heartbeat of " +
                     std::to_string(settings.heartbeat.count()) + " ms");
  return settings;
}

template <class Duration>
std::string number(Duration duration) {
  return std::to_string(duration.count());
}

std::string decimal(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

LeaseState to_lease_state(const RedisValue& reply) {
  if (reply.text == "held")
    return LeaseState::held;
  return reply.text == "cancelled" ? LeaseState::cancelled : LeaseState::lost;
}

FailureOutcome to_failure_outcome(std::string_view reply) {
  if (reply == "retry")
    return FailureOutcome::retry;
  if (reply == "dead")
    return FailureOutcome::dead;
  return reply == "cancelled" ? FailureOutcome::cancelled : FailureOutcome::lost;
}

std::string name_of(FailureKind kind) {
  switch (kind) {
  case FailureKind::permanent: return "permanent";
  case FailureKind::crash: return "crash";
  case FailureKind::transient: break;
  }
  return "transient";
}

/// The value of field `job` of a stream entry; null if it has none.
const std::string* payload_of(const RedisValue& fields) {
  for (std::size_t i = 0; i + 1 < fields.list.size(); i += 2)
    if (fields.list[i].text == "job")
      return &fields.list[i + 1].text;
  return nullptr;
}

/// What INTAKE has to know about an entry.
struct Verdict {
  std::string name = "queued"; ///< or "dead", or "newer"
  std::string id;              ///< the job's own; empty if it has none
  std::string reason;
  Job job;
};

Verdict judge(const std::string* payload) {
  Verdict verdict;
  try {
    if (payload == nullptr)
      throw JobError("the stream entry has no field \"job\"");
    verdict.job = parse_job(*payload, "");
    verdict.id = verdict.job.id;
  } catch (const JobError& error) {
    verdict.name = "dead";
    verdict.id = error.id();
    verdict.reason = error.what();
  } catch (const JobVersionError& error) {
    verdict.id = error.id();
    verdict.job.v = error.version();
  }
  return verdict;
}

} // namespace

void RedisQueueSettings::scale_periods(double factor) {
  for (milliseconds* period :
       {&heartbeat, &lease, &retry_base, &retry_longest, &suspect_patience, &timeouts.connect, &timeouts.command})
    *period = std::max(milliseconds(1), milliseconds(std::llround(factor * static_cast<double>(period->count()))));
  worker_ttl = std::max(seconds(1), seconds(std::llround(std::ceil(factor * static_cast<double>(worker_ttl.count())))));
}

RedisQueue::RedisQueue(RedisQueueSettings settings)
    : settings_(checked(std::move(settings))), connection_(parse_redis_url(settings_.url, settings_.password),
                                                           settings_.timeouts, "audiobookd-" + settings_.worker),
      wait_connection_(parse_redis_url(settings_.url, settings_.password), settings_.timeouts,
                       "audiobookd-" + settings_.worker + "-wait") {}

std::vector<std::string> RedisQueue::connect() {
  const std::lock_guard lock(mutex_);
  return prepare();
}

std::vector<std::string> RedisQueue::prepare() {
  connection_.connect();
  try {
    auto warnings = redis_warnings(connection_);
    check_protocol();
    reclaim_from_ = std::chrono::steady_clock::now() + settings_.lease;
    return warnings;
  } catch (...) {
    connection_.disconnect(); // unchecked: the next call has to check it again
    throw;
  }
}

void RedisQueue::check_protocol() {
  RedisValue found = connection_.command({"GET", key("protocol")});
  if (found.is_nil()) { // a new queue
    connection_.command({"SET", key("protocol"), protocol_version, "NX"});
    found = connection_.command({"GET", key("protocol")});
  }
  require_protocol(found.text, settings_.prefix, connection_.endpoint().display());
}

RedisConnection& RedisQueue::connected() {
  if (!connection_.is_connected())
    prepare();
  return connection_;
}

RedisValue RedisQueue::run(const RedisScript& script, const std::vector<std::string>& arguments) {
  return run_script(connected(), script, settings_.prefix, arguments);
}

// --- Intake -------------------------------------------------------------------------------------------------------

std::vector<IntakeReport> RedisQueue::intake() {
  const std::lock_guard lock(mutex_);
  std::vector<IntakeReport> reports;
  for (const std::string_view queue : QueueCounts::names) {
    const RedisValue seen = connected().command({"HGET", key("intake"), queue});
    const std::string start = "(" + (seen.is_nil() ? "0-0" : seen.text);
    const std::string stream = key("q:" + std::string(queue));
    const RedisValue entries = connected().command({"XRANGE", stream, start, "+", "COUNT", intake_batch});
    for (const RedisValue& entry : entries.list) {
      IntakeReport report = register_entry(queue, entry.at(0).text, payload_of(entry.at(1)), true);
      if (report.state != "seen")
        reports.push_back(std::move(report));
    }
  }
  return reports;
}

IntakeReport RedisQueue::register_entry(std::string_view queue, const std::string& entry, const std::string* payload,
                                        bool advance) {
  const Verdict verdict = judge(payload);
  const Job& job = verdict.job;
  const std::string not_before = job.not_before_s ? std::to_string(*job.not_before_s) : "";
  const RedisValue reply =
      run(scripts::intake, {std::string(queue), entry, verdict.name, verdict.id.empty() ? entry : verdict.id,
                            verdict.id.empty() ? "0" : "1", verdict.reason, std::to_string(job.v),
                            std::to_string(job.max_attempts), not_before, job.idempotency_key,
                            number(settings_.idempotency_retention), job.output, job.title, advance ? "1" : "0"});
  return {reply.at(1).text, std::string(queue), reply.at(0).text, reply.at(2).text};
}

// --- Leases -------------------------------------------------------------------------------------------------------

bool RedisQueue::runs_suspect() const {
  return std::any_of(held_.begin(), held_.end(), [](const auto& lease) { return lease.second; });
}

std::optional<ClaimedJob> RedisQueue::claim(std::string_view lowest) { return claim(lowest, "0"); }

std::optional<ClaimedJob> RedisQueue::claim_short(std::string_view lowest) { return claim(lowest, "1"); }

std::optional<ClaimedJob> RedisQueue::claim(std::string_view lowest, std::string_view only_short) {
  const std::lock_guard lock(mutex_);
  if (runs_suspect())
    return std::nullopt;
  for (;;) {                  // every turn buries or registers an entry, or is the last
    if (claim_token_.empty()) // else the reply to the last call was lost: asking with its token gives its job
      claim_token_ = random_hex();
    const RedisValue reply =
        run(scripts::claim,
            {settings_.worker, claim_token_, std::to_string(job_version), number(settings_.lease),
             held_.empty() ? "1" : "0", number(settings_.suspect_patience), number(settings_.ended_retention),
             std::string(lowest), number(settings_.max_wait), std::string(only_short)});
    const std::string token = std::exchange(claim_token_, "");
    const std::string& answer = reply.at(0).text;
    if (answer == "intake")
      register_entry(reply.at(1).text, reply.at(2).text, &reply.at(3).text, false);
    else if (answer != "job")
      return std::nullopt;
    else if (auto claimed = accept(reply, token))
      return claimed;
  }
}

std::optional<ClaimedJob> RedisQueue::accept(const RedisValue& reply, const std::string& token) {
  ClaimedJob claimed;
  claimed.lease = {reply.at(1).text, settings_.worker, token, std::stoi(reply.at(5).text), reply.at(6).text == "1"};
  claimed.queue = reply.at(2).text;
  claimed.previous_commit = reply.at(7).text;
  claimed.overdue = reply.at(8).text == "1";
  try {
    claimed.payload = reply.at(4).text;
    claimed.job = parse_job(claimed.payload, reply.at(3).text);
  } catch (const std::runtime_error& error) { // taken in by a version that knew less, or more
    fail_lease(claimed.lease, error.what(), FailureKind::permanent);
    return std::nullopt;
  }
  claimed.job.id = claimed.lease.id;
  held_.emplace(token, claimed.lease.suspect);
  return claimed;
}

LeaseState RedisQueue::heartbeat(const Lease& lease, const Progress& progress) {
  const std::string eta = progress.eta_s ? decimal(*progress.eta_s, 0) : "";
  const std::string first_audio = progress.first_audio ? number(*progress.first_audio) : "";
  return keep_lease(lease, {"running", decimal(progress.fraction, 4), eta, ""}, first_audio);
}

LeaseState RedisQueue::begin_commit(const Lease& lease, std::string_view fingerprint) {
  return keep_lease(lease, {"committing", "", "", std::string(fingerprint)}, "");
}

LeaseState RedisQueue::keep_lease(const Lease& lease, const std::vector<std::string>& phase_progress_eta_commit,
                                  const std::string& first_audio_ms) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> arguments = {lease.id, lease.owner, lease.token};
  arguments.insert(arguments.end(), phase_progress_eta_commit.begin(), phase_progress_eta_commit.end());
  arguments.push_back(number(settings_.ended_retention));
  arguments.push_back(first_audio_ms);
  const LeaseState state = to_lease_state(run(scripts::heartbeat, arguments));
  if (state != LeaseState::held)
    held_.erase(lease.token);
  return state;
}

LeaseState RedisQueue::complete(const Lease& lease, std::string_view result_json) {
  const std::lock_guard lock(mutex_);
  const RedisValue reply = run(scripts::complete, {lease.id, lease.owner, lease.token, std::string(result_json),
                                                   number(settings_.ended_retention)});
  held_.erase(lease.token);
  return to_lease_state(reply);
}

FailureOutcome RedisQueue::fail(const Lease& lease, std::string_view error, FailureKind kind) {
  const std::lock_guard lock(mutex_);
  return to_failure_outcome(fail_lease(lease, error, kind));
}

std::string RedisQueue::fail_lease(const Lease& lease, std::string_view error, FailureKind kind) {
  const RedisValue reply = run(scripts::fail, {lease.id, lease.owner, lease.token, name_of(kind), std::string(error),
                                               number(settings_.retry_base), number(settings_.retry_longest),
                                               number(settings_.ended_retention)});
  held_.erase(lease.token);
  return reply.text;
}

LeaseState RedisQueue::release(const Lease& lease) { return release(lease, "0"); }

LeaseState RedisQueue::release_as_long(const Lease& lease) { return release(lease, "1"); }

LeaseState RedisQueue::release(const Lease& lease, std::string_view is_long) {
  const std::lock_guard lock(mutex_);
  const RedisValue reply = run(
      scripts::release, {lease.id, lease.owner, lease.token, number(settings_.ended_retention), std::string(is_long)});
  held_.erase(lease.token);
  return to_lease_state(reply);
}

// --- Housekeeping -------------------------------------------------------------------------------------------------

std::vector<ReclaimReport> RedisQueue::reclaim() {
  const std::lock_guard lock(mutex_);
  connected(); // a new connection moves reclaim_from_
  if (std::chrono::steady_clock::now() < reclaim_from_)
    return {};
  std::vector<ReclaimReport> reports;
  const RedisValue reply = run(scripts::reclaim, {number(settings_.lease), number(settings_.ended_retention)});
  for (const RedisValue& job : reply.list)
    reports.push_back({job.at(0).text, job.at(1).text, job.at(2).text});
  return reports;
}

std::size_t RedisQueue::promote() {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(run(scripts::promote, {}).integer);
}

std::vector<ControlReport> RedisQueue::poll_control() {
  const std::lock_guard lock(mutex_);
  std::vector<ControlReport> reports;
  const RedisValue reply = run(scripts::control, {number(settings_.ended_retention)});
  for (const RedisValue& command : reply.list)
    reports.push_back({command.at(0).text, command.at(1).text, command.at(2).text});
  return reports;
}

WorkerOrder RedisQueue::announce(std::string_view info_json) {
  const std::lock_guard lock(mutex_);
  const RedisValue reply =
      run(scripts::announce, {settings_.worker, std::string(info_json), number(settings_.worker_ttl)});
  return reply.text == "drain" ? WorkerOrder::drain : WorkerOrder::work;
}

void RedisQueue::retire() {
  const std::lock_guard lock(mutex_);
  run(scripts::retire, {settings_.worker});
}

// --- What became of jobs ------------------------------------------------------------------------------------------

std::vector<std::string> RedisQueue::states(std::span<const std::string> ids) {
  const std::lock_guard lock(mutex_);
  std::vector<std::vector<std::string>> commands;
  for (const std::string& id : ids)
    commands.push_back({"HGET", key("job:" + id), "state"});
  std::vector<std::string> states;
  for (const RedisValue& reply : connected().pipeline(commands))
    states.push_back(reply.text);
  return states;
}

std::vector<std::string> RedisQueue::purged() {
  const std::lock_guard lock(mutex_);
  const RedisValue entries =
      connected().command({"XRANGE", key("purged"), "(" + last_purged_, "+", "COUNT", purged_batch});
  std::vector<std::string> ids;
  for (const RedisValue& entry : entries.list) {
    ids.push_back(entry.at(1).at(1).text);
    last_purged_ = entry.at(0).text;
  }
  return ids;
}

// --- Waiting and counting -----------------------------------------------------------------------------------------

bool RedisQueue::wait_for_work(std::chrono::milliseconds timeout) {
  const std::lock_guard lock(wait_mutex_);
  // What was not taken in yet and what was not carried out yet: both streams are read from where others stopped, so
  // that nothing added before this call is missed.
  const RedisValue seen = wait_connection_.command({"HMGET", key("intake"), "high", "normal", "low"});
  const auto start = [&](std::size_t queue) { return seen.at(queue).is_nil() ? "0-0" : seen.at(queue).text; };
  const auto block = std::max(timeout, std::chrono::milliseconds(1));
  const RedisValue woken =
      wait_connection_.command({"XREAD", "COUNT", "1", "BLOCK", number(block), "STREAMS", key("q:high"),
                                key("q:normal"), key("q:low"), key("control"), start(0), start(1), start(2), "0-0"},
                               block);
  return !woken.is_nil();
}

QueueCounts RedisQueue::counts() {
  const std::lock_guard lock(mutex_);
  const RedisValue reply = run(scripts::counts, {});
  const auto count = [&](std::size_t index) { return static_cast<std::size_t>(reply.at(index).integer); };
  QueueCounts counts;
  counts.paused = count(0) != 0;
  counts.delayed = count(1);
  counts.dead = count(2);
  for (std::size_t i = 0; i < counts.queues.size(); ++i)
    counts.queues[i] = {count(3 + 3 * i), count(4 + 3 * i), count(5 + 3 * i) != 0};
  return counts;
}

} // namespace audiobookd::jobs
