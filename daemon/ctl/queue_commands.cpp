// See queue_commands.h. What each command does; their options are in queue_command_options.cpp.
#include "daemon/ctl/queue_commands.h"

#include "daemon/ctl/enqueue.h"
#include "daemon/ctl/follow_views.h"
#include "daemon/ctl/printable.h"
#include "daemon/ctl/queue_json.h"
#include "jobs/job.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

namespace audiobookd::daemon {
namespace {

using std::chrono::milliseconds;

/// Of jobs that are followed on a terminal: one cannot go back to lines that have left it.
constexpr std::size_t most_lines_drawn = 20;

milliseconds to_milliseconds(double seconds) { return milliseconds(static_cast<std::int64_t>(1000 * seconds)); }

std::string read_all(std::istream& in, const std::string& name) {
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) {
    throw std::runtime_error(name + ": cannot be read");
  }
  return text;
}

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void require_id(const std::string& text, const char* what) {
  if (!jobs::is_valid_job_id(text)) {
    throw std::invalid_argument("\"" + printable(text) + "\" is no " + what +
                                ": 1 to 128 of A-Z a-z 0-9 _ . - are expected");
  }
}

/// What a command is about, for people: "job tale", "queue low", "everything".
std::string subject_of(const jobs::ControlCommand& command) {
  return command.field.empty() ? std::string("everything") : command.subject;
}

std::string describe_outcome(const jobs::ControlOutcome& outcome) {
  const std::string subject = subject_of(outcome.command) + ": ";
  if (!outcome.outcome) {
    return subject + "no worker carried this out in time; it stays in the queue until one does";
  }
  if (outcome.command.name == "cancel" && *outcome.outcome == "requested") {
    return subject + "cancelled with its worker's next heartbeat";
  }
  return subject + printable(*outcome.outcome);
}

ExitStatus status_of(const std::vector<jobs::ControlOutcome>& outcomes) {
  const auto any = [&](auto predicate) { return std::ranges::any_of(outcomes, predicate); };
  if (any([](const jobs::ControlOutcome& outcome) { return !outcome.outcome; })) {
    return ExitStatus::not_carried_out;
  }
  if (any([](const jobs::ControlOutcome& outcome) { return outcome.outcome == "no such job"; })) {
    return ExitStatus::no_such_job;
  }
  return any([](const jobs::ControlOutcome& outcome) { return !outcome.is_success(); }) ? ExitStatus::failed
                                                                                        : ExitStatus::done;
}

} // namespace

std::string read_source(const std::string& name, std::istream& standard_input) {
  if (name == "-") {
    return read_all(standard_input, "standard input");
  }
  std::ifstream file(name, std::ios::binary);
  if (!file) {
    throw std::invalid_argument("'" + name + "' cannot be read");
  }
  return read_all(file, "'" + name + "'");
}

std::optional<ExitStatus> QueueCommands::run() {
  const auto command = std::ranges::find_if(commands_, [](const Command& one) { return one.app->parsed(); });
  if (command == commands_.end()) {
    return std::nullopt;
  }
  try {
    client_ = std::make_unique<jobs::QueueClient>(find_queue(address_));
  } catch (const jobs::QueueError& error) { // the URL
    throw std::invalid_argument(error.what());
  }
  return (this->*command->action)();
}

Page QueueCommands::page() { return {console_.out, console_.columns, client_->now()}; }

// --- Adding and following -----------------------------------------------------------------------------------------

std::vector<std::string> QueueCommands::read_jobs() {
  std::vector<std::string> payloads;
  if (!job_file_.empty()) {
    payloads = split_jobs(read_source(job_file_, console_.in));
  } else if (job_flags_.any()) {
    payloads = {"{}"};
  } else {
    throw std::invalid_argument("no job: --input and --output say what to read aloud, --job FILE reads JSON");
  }
  if (job_flags_.any()) {
    for (std::string& payload : payloads) {
      auto job = nlohmann::json::parse(payload);
      job_flags_.put_into(job, unix_now(), console_.in);
      payload = job.dump();
      check_job(payload);
    }
  }
  return payloads;
}

ExitStatus QueueCommands::enqueue() {
  const std::vector<std::string> payloads = read_jobs();
  client_->connect();
  std::vector<FollowedJob> jobs;
  add_jobs(*client_, queue_, payloads, [&](const FollowedJob& job) {
    jobs.push_back(job);
    if (as_json_) {
      print_line(console_.out, {{"id", job.id}, {"queue", job.queue}, {"entry", job.entry}});
    } else {
      console_.out << job.id << std::endl;
    }
  });
  return follows_ ? follow_to_the_end(std::move(jobs)) : ExitStatus::done;
}

ExitStatus QueueCommands::follow_jobs() {
  std::vector<FollowedJob> jobs;
  for (const std::string& id : ids_) {
    require_id(id, "job id");
    if (std::ranges::none_of(jobs, [&](const FollowedJob& job) { return job.id == id; })) {
      jobs.push_back({.id = id});
    }
  }
  client_->connect();
  return follow_to_the_end(std::move(jobs));
}

ExitStatus QueueCommands::follow_to_the_end(std::vector<FollowedJob> jobs) {
  std::unique_ptr<FollowView> view;
  if (as_json_) {
    view = std::make_unique<JsonView>(console_.out, console_.err);
  } else if (console_.columns > 0 && jobs.size() <= most_lines_drawn) {
    view = std::make_unique<BoardView>(console_.out, console_.columns);
  } else {
    view = std::make_unique<LineView>(console_.out, console_.err);
  }
  FollowOptions options;
  if (follow_timeout_s_ > 0) {
    options.timeout = to_milliseconds(follow_timeout_s_);
  }
  return follow(*client_, std::move(jobs), *view, options);
}

// --- Looking ------------------------------------------------------------------------------------------------------

void QueueCommands::note_untaken() {
  if (const std::size_t count = client_->count_untaken(); count > 0) {
    console_.err << fmt::format("{} more {} not taken in by a worker yet\n", count, count == 1 ? "was" : "were");
  }
}

ExitStatus QueueCommands::list() {
  client_->connect();
  const auto records = client_->list({states_, one_queue_, all_ ? std::numeric_limits<std::size_t>::max() : limit_});
  if (as_json_) {
    print(console_.out, to_json(records));
  } else if (only_ids_) {
    for (const jobs::JobRecord& record : records) {
      console_.out << printable(record.id) << '\n';
    }
  } else {
    print_jobs(page(), records);
    note_untaken();
  }
  return ExitStatus::done;
}

ExitStatus QueueCommands::show() {
  require_id(ids_.front(), "job id");
  client_->connect();
  const auto record = client_->find(ids_.front());
  if (!record) {
    throw NoSuchJob("no such job: " + ids_.front() +
                    (client_->count_untaken() > 0 ? "; but not every entry was taken in by a worker yet" : ""));
  }
  const auto events = client_->events_of(record->id);
  if (as_json_) {
    print(console_.out, to_json(*record, events));
  } else {
    print_job(page(), *record, events);
  }
  return ExitStatus::done;
}

ExitStatus QueueCommands::list_dead() {
  client_->connect();
  const auto jobs = client_->dead(all_ ? 0 : limit_);
  if (as_json_) {
    print(console_.out, to_json(jobs));
  } else if (only_ids_) {
    for (const jobs::DeadJob& job : jobs) {
      console_.out << printable(job.id) << '\n';
    }
  } else {
    print_dead(page(), jobs);
  }
  return ExitStatus::done;
}

ExitStatus QueueCommands::list_workers() {
  client_->connect();
  const auto workers = client_->workers();
  if (as_json_) {
    print(console_.out, to_json(workers));
  } else {
    print_workers(page(), workers);
  }
  return ExitStatus::done;
}

ExitStatus QueueCommands::show_stats() {
  client_->connect();
  const jobs::QueueStats stats = client_->stats();
  if (as_json_) {
    print(console_.out, to_json(stats));
  } else {
    print_stats(page(), stats);
  }
  return ExitStatus::done;
}

// --- Commands to the workers --------------------------------------------------------------------------------------

ExitStatus QueueCommands::carry_out(const std::vector<jobs::ControlCommand>& commands) {
  bool is_noted = false;
  const auto note_absent_workers = [&] {
    if (!is_noted && std::ranges::none_of(client_->workers(), &jobs::WorkerRecord::is_alive)) {
      is_noted = true;
      console_.err << fmt::format("no worker is alive; waiting up to {:g} s for one\n", timeout_s_);
    }
  };
  const auto outcomes = client_->carry_out(commands, to_milliseconds(timeout_s_), note_absent_workers);
  if (as_json_) {
    print(console_.out, to_json(outcomes));
  } else {
    for (const jobs::ControlOutcome& outcome : outcomes) {
      (outcome.is_success() ? console_.out : console_.err) << describe_outcome(outcome) << '\n';
    }
  }
  return status_of(outcomes);
}

ExitStatus QueueCommands::command_jobs(const std::string& name) {
  std::vector<jobs::ControlCommand> commands;
  for (const std::string& id : ids_) {
    require_id(id, "job id");
    commands.push_back({name, "id", id});
  }
  client_->connect();
  return carry_out(commands);
}

ExitStatus QueueCommands::command_dead(const std::string& name) {
  if (ids_.empty() == !all_) {
    throw std::invalid_argument("dead: ids of jobs, or --all, and not both");
  }
  if (!all_) {
    return command_jobs(name);
  }
  client_->connect();
  std::set<std::string> ids;
  for (const jobs::DeadJob& job : client_->dead(0)) {
    ids.insert(job.id);
  }
  ids_.assign(ids.begin(), ids.end());
  return command_jobs(name);
}

ExitStatus QueueCommands::command_queue(const std::string& name) {
  client_->connect();
  return carry_out({{name, one_queue_.empty() ? "" : "queue", one_queue_}});
}

ExitStatus QueueCommands::drain() {
  if (worker_.empty() == !all_) {
    throw std::invalid_argument("drain: the name of a worker, or --all, and not both");
  }
  if (!all_) {
    require_id(worker_, "worker's name");
  }
  client_->connect();
  return carry_out({{"drain", all_ ? "" : "worker", worker_}});
}

} // namespace audiobookd::daemon
