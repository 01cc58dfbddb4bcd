// How long a job stands still when its worker is killed: with the periods of production, from SIGKILL until another
// worker runs it. As many jobs as kills are measured at once, each on a worker of its own, killed at random moments,
// with as many idle workers beside them.
//
// Prints a table for people and one line of JSON. Exit status: 0 all were resumed within 45 s; 1 not; 2 wrong usage.
#include "tests/faults/fault_fixture.h"
#include "tests/faults/workplace.h"
#include "tests/jobs/redis_fixture.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

namespace audiobookd::tests {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double limit_s = 45;

struct Measured {
  std::string job;
  std::string owner; ///< who ran it before
  std::unique_ptr<Process>* process = nullptr;
  Clock::time_point kill_at;
  Clock::time_point killed{}; ///< epoch: not yet
  double seconds = -1;        ///< until it ran again
};

class Recovery {
public:
  Recovery(int kills, std::uint64_t seed) : kills_(kills), dice_(seed) {}
  int run();

private:
  void start_workers(int count);
  void add_jobs();
  void find_owners();
  bool look_at(Measured& measured);
  int report();
  std::string field(const std::string& job, const std::string& name) {
    return admin_.command({"HGET", "tts:job:" + job, name}).text;
  }

  const int kills_;
  std::mt19937_64 dice_;
  jobs::RedisServer server_{{"--appendonly", "yes"}};
  jobs::RedisConnection admin_{jobs::parse_redis_url(server_.url()), {}, "recovery"};
  Workplace place_{server_.url(), 1};
  std::map<pid_t, std::unique_ptr<Process>> workers_;
  std::vector<Measured> measured_;
};

int Recovery::run() {
  place_.behave(120'000); // no job ends meanwhile
  start_workers(kills_);
  add_jobs();
  find_owners();
  start_workers(kills_);
  const auto begin = Clock::now();
  for (Measured& measured : measured_) { // spread over two leases
    measured.kill_at = begin + std::chrono::milliseconds(dice_() % 60'000);
  }
  const auto is_unfinished = [this](Measured& measured) { return !look_at(measured); };
  while (std::ranges::count_if(measured_, is_unfinished) > 0 && Clock::now() < begin + std::chrono::minutes(5)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10)); // the resolution of what is measured
  }
  return report();
}

void Recovery::start_workers(int count) {
  for (int i = 0; i < count; ++i) {
    auto process = place_.start({.name = fmt::format("worker-{}", workers_.size()), .max_jobs = 1});
    const pid_t pid = process->pid();
    workers_.emplace(pid, std::move(process));
  }
}

void Recovery::add_jobs() {
  for (int i = 0; i < kills_; ++i) {
    Measured measured;
    measured.job = fmt::format("job-{}", i);
    const nlohmann::json job = {{"id", measured.job}, {"text", "It was late."}, {"output", measured.job + ".mp3"}};
    admin_.command({"XADD", "tts:q:normal", "*", "job", job.dump()});
    measured_.push_back(std::move(measured));
  }
}

/// Waits until every job runs, and asks the workers' registrations whose process that is.
void Recovery::find_owners() {
  for (Measured& measured : measured_) {
    if (!comes_true([&] { return field(measured.job, "state") == "running"; })) {
      throw std::runtime_error(measured.job + " does not run:\n" + place_.all_logs());
    }
    measured.owner = field(measured.job, "owner");
    if (!comes_true([&] { return admin_.command({"EXISTS", "tts:worker:" + measured.owner}).integer == 1; })) {
      throw std::runtime_error(measured.owner + " does not say who it is");
    }
    const std::string info = admin_.command({"GET", "tts:worker:" + measured.owner}).text;
    measured.process = &workers_.at(nlohmann::json::parse(info).at("pid").get<pid_t>());
  }
}

/// Kills when it is time. @return whether the job runs again.
bool Recovery::look_at(Measured& measured) {
  if (measured.seconds >= 0 || Clock::now() < measured.kill_at) {
    return measured.seconds >= 0;
  }
  if (measured.killed == Clock::time_point{}) {
    measured.killed = Clock::now();
    (*measured.process)->end(SIGKILL);
  }
  if (field(measured.job, "state") == "running" && field(measured.job, "owner") != measured.owner) {
    measured.seconds = std::chrono::duration<double>(Clock::now() - measured.killed).count();
  }
  return measured.seconds >= 0;
}

int Recovery::report() {
  std::vector<double> seconds;
  for (const Measured& measured : measured_) {
    std::cout << fmt::format("{:8} {:6.1f} s\n", measured.job, measured.seconds);
    seconds.push_back(measured.seconds < 0 ? 1e9 : measured.seconds);
  }
  std::ranges::sort(seconds);
  const double median = (seconds[(seconds.size() - 1) / 2] + seconds[seconds.size() / 2]) / 2;
  std::cout << nlohmann::ordered_json{{"recovery",
                                       {{"kills", kills_},
                                        {"heartbeat_s", 5},
                                        {"lease_s", 30},
                                        {"median_s", median},
                                        {"min_s", seconds.front()},
                                        {"max_s", seconds.back()}}}}
                   .dump()
            << std::endl;
  return seconds.back() <= limit_s ? 0 : 1;
}

int run_program(int argc, char** argv) {
  CLI::App app("Time until a job runs again after its worker was killed", "audiobook-recovery");
  int kills = 30;
  std::uint64_t seed = 1;
  app.add_option("--kills", kills, "Jobs, and workers that are killed")
      ->check(CLI::Range(1, 500))
      ->capture_default_str();
  app.add_option("--seed", seed, "Of the moments")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return Recovery(kills, seed).run();
}

} // namespace
} // namespace audiobookd::tests

int main(int argc, char** argv) {
  try {
    return audiobookd::tests::run_program(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "audiobook-recovery: " << error.what() << '\n';
    return 1;
  }
}
