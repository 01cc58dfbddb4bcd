// A fleet under random faults: workers are killed, stopped and told to stop, connections are cut and left to die, Redis
// is killed and frozen, while jobs keep coming. In the end every job must have been done, published exactly once, and
// be as long as its text.
//
// Everything that is random follows from the seed, except for when the machine gets around to it. All but two of the
// workers are whole daemons with a fake engine, those two are the real program with the tiny checkpoint.
//
// Exit status: 0 nothing was lost and nothing came twice; 1 something was, or the set-up failed; 2 wrong usage.
#include "tests/faults/books.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/publish_watch.h"
#include "tests/faults/tcp_proxy.h"
#include "tests/faults/workplace.h"
#include "tests/jobs/redis_fixture.h"
#include "tests/storage/ffmpeg.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <sys/wait.h>
#include <thread>

namespace audiobookd::tests {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int num_documents = 16;
/// Of random numbers: so that most jobs have to be rendered, and some find what others rendered.
constexpr int num_seeds = 50;
constexpr int num_proxies = 3;
constexpr int num_stores = 4;

struct Plan {
  int seconds = 30;
  int workers = 8;
  int real_workers = 2;
  std::uint64_t seed = 0;
  double scale = 0.05; ///< of all periods
};

/// A document, and the lengths that its MP3 may have.
struct Document {
  int paragraphs = 0;
  std::size_t fake_samples = 0;
  std::optional<std::size_t> real_samples; ///< asked of the real program when needed
};

/// One place of the fleet; its process comes and goes.
struct Place {
  Worker worker;
  bool is_real = false;
  std::unique_ptr<Process> process;
  Clock::time_point start_at; ///< when there is no process
  Clock::time_point wake_at;  ///< when it is stopped
  bool is_stopped = false;
  int expected_end = 0;         ///< what wait() should say; another end is a mistake of the program
  bool may_die_of_term = false; ///< told to end before it could listen
};

struct Added {
  int document = 0;
  bool may_be_cancelled = false;
};

class Chaos {
public:
  explicit Chaos(const Plan& plan);
  /// @return the exit status.
  int run();

private:
  void add_places();
  void tick(bool with_faults);
  void look_after(Place& place);
  void look_after_redis();
  void strike();
  void hurt_worker(int kind);
  void hurt_redis(bool freeze);
  void add_jobs();
  void add_job();
  std::int64_t open_jobs();
  void judge();
  void judge_job(const std::string& id, const Added& added);
  [[nodiscard]] bool is_whole(Document& document, int seed, const std::string& bytes, const fs::path& file);
  std::size_t real_samples(int seed);
  void blame(const std::string& id, const std::string& what);
  [[nodiscard]] std::string story_of(const std::string& id) const;
  void report() const;

  int random(int below) { return static_cast<int>(dice_() % static_cast<std::uint64_t>(below)); }
  milliseconds random_time(milliseconds longest) { return milliseconds(random(static_cast<int>(longest.count()) + 1)); }
  template <class Call>
  auto patiently(Call call) -> decltype(call());

  const Plan plan_;
  const milliseconds lease_;
  std::mt19937_64 dice_;
  jobs::RedisServer server_{{"--appendonly", "yes", "--appendfsync", "everysec"}};
  jobs::RedisConnection admin_{jobs::parse_redis_url(server_.url()), {}, "chaos"};
  Workplace place_;
  PublishWatch published_;
  std::vector<std::unique_ptr<TcpProxy>> proxies_;
  std::vector<Place> places_;
  std::vector<Document> documents_;
  std::map<std::string, Added> jobs_;
  std::map<std::string, bool> judged_files_; // by content and document
  Clock::time_point next_strike_;
  std::optional<Clock::time_point> redis_back_at_;
  bool redis_is_frozen_ = false;
  std::map<std::string, int> done_; // faults by name
  int lost_ = 0, twice_ = 0, broken_ = 0, wrong_ends_ = 0;
};

Chaos::Chaos(const Plan& plan)
    : plan_(plan), lease_(static_cast<int>(30'000 * plan.scale)), dice_(plan.seed), place_(server_.url(), plan.scale),
      published_(place_.path("out")) {
  for (int i = 0; i < num_documents; ++i) {
    const int paragraphs = 3 + random(8);
    documents_.push_back({paragraphs, book_samples(i, paragraphs), {}});
    write_file(place_.path("in") / (std::to_string(i) + ".txt"), book_text(i, paragraphs));
  }
  for (int i = 0; i < num_proxies; ++i) {
    proxies_.push_back(std::make_unique<TcpProxy>(server_.socket()));
  }
  place_.behave(std::max(20, 1000 * plan.workers / 60)); // about 60 utterances a second altogether
  add_places();
}

void Chaos::add_places() {
  const int checkpoint = std::system(
      fmt::format("'{}' --preset tiny --out '{}' >/dev/null", AUDIOBOOKD_MAKE_CHECKPOINT, place_.path("tiny").string())
          .c_str());
  if (checkpoint != 0) {
    throw std::runtime_error("make-checkpoint failed");
  }
  for (int i = 0; i < plan_.workers; ++i) {
    Place place;
    place.is_real = i < plan_.real_workers;
    place.worker = {.name = fmt::format("worker-{}", i),
                    .url = i % 2 == 0 ? "" : proxies_[static_cast<std::size_t>(i / 2 % num_proxies)]->url(),
                    .chunks = fmt::format("store-{}", i % num_stores),
                    .max_jobs = 1 + i % 3,
                    .short_jobs = i % 2,
                    .drain_seconds = i % 4 == 0 ? 0.0 : 10 * plan_.scale};
    if (place.is_real) {
      place.worker.engine_section = "checkpoint = 'tiny'\nmax_batch = 2\nsynthesis_batch = 2\ncpu_threads = 1";
      place.worker.wrapper = {"/usr/bin/nice", "-n", "10"};
    }
    place.start_at = Clock::now() + random_time(milliseconds(1000));
    places_.push_back(std::move(place));
  }
}

/// Repeats @p call until Redis answers.
template <class Call>
auto Chaos::patiently(Call call) -> decltype(call()) {
  for (;;) {
    try {
      return call();
    } catch (const jobs::QueueUnavailable&) {
      look_after_redis();
      std::this_thread::sleep_for(milliseconds(20)); // between two attempts
    }
  }
}

int Chaos::run() {
  std::cout << fmt::format("chaos: seed {}, {} workers ({} of them real), {} s, periods times {}\n", plan_.seed,
                           plan_.workers, plan_.real_workers, plan_.seconds, plan_.scale)
            << std::flush;
  const auto end = Clock::now() + std::chrono::seconds(plan_.seconds);
  next_strike_ = Clock::now() + lease_;
  while (Clock::now() < end) {
    add_jobs();
    tick(true);
  }
  const auto patience = Clock::now() + std::chrono::seconds(120) + 60 * lease_;
  while (open_jobs() > 0 && Clock::now() < patience) {
    tick(false);
  }
  judge();
  report();
  return lost_ + twice_ + broken_ + wrong_ends_ == 0 ? 0 : 1;
}

void Chaos::tick(bool with_faults) {
  for (Place& place : places_) {
    look_after(place);
  }
  look_after_redis();
  if (with_faults && Clock::now() >= next_strike_) {
    strike();
    next_strike_ = Clock::now() + random_time(lease_ * 8 / plan_.workers);
  }
  std::this_thread::sleep_for(milliseconds(10)); // the schedule's grain
}

/// Starts what is to start, wakes what is to wake, and buries the dead.
void Chaos::look_after(Place& place) {
  const auto now = Clock::now();
  if (place.is_stopped && now >= place.wake_at) {
    place.process->signal(SIGCONT);
    place.is_stopped = false;
  }
  if (place.process && !place.process->is_running()) {
    const int end = place.process->wait();
    if (end != place.expected_end && !(end == -SIGTERM && place.may_die_of_term)) {
      ++wrong_ends_;
      std::cout << fmt::format("{} ended with {} instead of {}:\n{}\n", place.worker.name, end, place.expected_end,
                               story_of(place.worker.name));
    }
    place.process.reset();
    place.is_stopped = false;
    place.start_at = now + random_time(lease_);
  }
  if (!place.process && now >= place.start_at) {
    place.process = place.is_real ? place_.start_real(place.worker) : place_.start(place.worker);
    place.expected_end = INT_MIN; // it is not told to end yet
    place.may_die_of_term = false;
    ++done_["starts"];
  }
}

void Chaos::look_after_redis() {
  if (!redis_back_at_ || Clock::now() < *redis_back_at_) {
    return;
  }
  if (redis_is_frozen_) {
    server_.send_signal(SIGCONT);
  } else {
    server_.start();
  }
  redis_back_at_.reset();
}

void Chaos::strike() {
  const int kind = random(100);
  if (kind < 75) {
    hurt_worker(kind);
  } else if (kind < 98 || redis_back_at_) {
    const bool is_cut = kind % 2 == 0;
    TcpProxy& proxy = *proxies_[static_cast<std::size_t>(random(num_proxies))];
    is_cut ? proxy.cut() : proxy.black_hole();
    ++done_[is_cut ? "cuts" : "black holes"];
  } else {
    hurt_redis(kind == 98);
  }
}

void Chaos::hurt_worker(int kind) {
  Place& place = places_[static_cast<std::size_t>(random(plan_.workers))];
  if (!place.process || place.expected_end != INT_MIN) {
    return; // dead, or dying already
  }
  if (kind < 40) {
    place.process->signal(SIGKILL);
    place.expected_end = -SIGKILL;
    ++done_["kills"];
  } else if (kind < 55) {
    place.may_die_of_term = !place.process->blocks(SIGTERM);
    place.process->signal(SIGTERM);
    place.expected_end = 0;
    ++done_["terms"];
  } else if (!place.is_stopped) {
    place.process->signal(SIGSTOP);
    place.is_stopped = true;
    place.wake_at = Clock::now() + random_time(2 * lease_);
    ++done_["stops"];
  }
}

void Chaos::hurt_redis(bool freeze) {
  redis_is_frozen_ = freeze;
  if (freeze) {
    server_.send_signal(SIGSTOP);
  } else {
    server_.kill();
  }
  redis_back_at_ = Clock::now() + random_time(lease_);
  ++done_[freeze ? "redis frozen" : "redis killed"];
}

std::int64_t Chaos::open_jobs() {
  return patiently([&] {
    std::int64_t open = 0;
    for (const char* queue : {"tts:q:high", "tts:q:normal", "tts:q:low"}) {
      open += admin_.command({"XLEN", queue}).integer;
    }
    return open;
  });
}

void Chaos::add_jobs() {
  if (redis_back_at_) {
    return; // so that faults go on meanwhile
  }
  for (std::int64_t open = open_jobs(); open < 2 * plan_.workers; ++open) {
    add_job();
  }
}

void Chaos::add_job() {
  const std::string id = fmt::format("job-{}", jobs_.size());
  Added added{.document = random(num_documents), .may_be_cancelled = random(50) == 0};
  const nlohmann::json job = {{"id", id},
                              {"input", std::to_string(added.document) + ".txt"},
                              {"output", id + ".mp3"},
                              {"title", "A book"},
                              {"params", {{"seed", random(num_seeds)}}},
                              {"max_attempts", 100}, // random kills hit the innocent
                              {"if_exists", random(2) == 0 ? "fail" : "replace"}};
  const std::string queue = std::array{"tts:q:high", "tts:q:normal", "tts:q:low"}[static_cast<std::size_t>(random(3))];
  patiently([&] { admin_.command({"XADD", queue, "*", "job", job.dump()}); });
  if (added.may_be_cancelled) {
    patiently([&] { admin_.command({"XADD", "tts:control", "*", "cmd", "cancel", "id", id}); });
  }
  jobs_.emplace(id, added);
}

void Chaos::judge() {
  for (Place& place : places_) {
    place.process.reset(); // killed: nothing more is published from here on
  }
  for (const auto& [id, added] : jobs_) {
    judge_job(id, added);
  }
  for (const auto& [name, count] : published_.counts()) {
    if (!jobs_.contains(fs::path(name).stem())) {
      ++broken_;
      std::cout << "'" << name << "' was published by nobody's order\n";
    }
  }
}

void Chaos::judge_job(const std::string& id, const Added& added) {
  const std::string state = patiently([&] { return admin_.command({"HGET", "tts:job:" + id, "state"}).text; });
  const int times = published_.count(id + ".mp3");
  if (times > 1) {
    ++twice_;
    blame(id, fmt::format("was published {} times", times));
  }
  if (state == "cancelled" && added.may_be_cancelled && times == 0) {
    return;
  }
  if (state != "done" || times == 0) {
    ++lost_;
    blame(id, fmt::format("is \"{}\" and was published {} times", state, times));
    return;
  }
  const fs::path file = place_.output(id);
  if (!is_whole(documents_[static_cast<std::size_t>(added.document)], added.document, read_file(file), file)) {
    ++broken_;
    blame(id, "is not as long as its text");
  }
}

bool Chaos::is_whole(Document& document, int seed, const std::string& bytes, const fs::path& file) {
  const std::string name = std::to_string(seed) + ":" + bytes;
  if (const auto known = judged_files_.find(name); known != judged_files_.end()) {
    return known->second;
  }
  const std::size_t samples = decoded_samples(file);
  bool whole = samples == document.fake_samples;
  if (!whole) {
    if (!document.real_samples) {
      document.real_samples = real_samples(seed);
    }
    whole = samples == *document.real_samples;
    ++done_["real books"];
  }
  return judged_files_[name] = whole;
}

/// The length that the real program gives this document, undisturbed.
std::size_t Chaos::real_samples(int seed) {
  const std::string id = "reference-" + std::to_string(seed);
  const auto worker =
      place_.start_real({.name = "reference",
                         .engine_section = "checkpoint = 'tiny'\nmax_batch = 2\nsynthesis_batch = 2\ncpu_threads = 1"});
  const nlohmann::json job = {{"id", id}, {"input", std::to_string(seed) + ".txt"}, {"output", id + ".mp3"}};
  jobs_.emplace(id, Added{.document = seed});
  admin_.command({"XADD", "tts:q:high", "*", "job", job.dump()});
  if (!comes_true([&] { return admin_.command({"HGET", "tts:job:" + id, "state"}).text == "done"; })) {
    throw std::runtime_error("the undisturbed program did not finish " + id + ":\n" + story_of(id));
  }
  return decoded_samples(place_.output(id));
}

/// What all logs say of a job or a worker.
std::string Chaos::story_of(const std::string& id) const {
  const std::string command =
      fmt::format("grep -h ' {0}[: ]' '{1}'/*.log | sort | tail -40; tail -5 '{1}/{0}.log' 2>&1; true", id,
                  place_.path("").string());
  return output_of(command);
}

void Chaos::blame(const std::string& id, const std::string& what) {
  std::cout << id << " " << what << ":\n" << story_of(id) << std::flush;
}

void Chaos::report() const {
  nlohmann::ordered_json line = {{"chaos", {{"seed", plan_.seed}, {"seconds", plan_.seconds}}}};
  auto& figures = line["chaos"];
  figures["workers"] = plan_.workers;
  figures["jobs"] = jobs_.size();
  for (const auto& [name, count] : done_) {
    figures[name] = count;
  }
  figures["lost"] = lost_;
  figures["published_twice"] = twice_;
  figures["incomplete"] = broken_;
  figures["wrong_ends"] = wrong_ends_;
  std::cout << line.dump() << std::endl;
}

int run_program(int argc, char** argv) {
  CLI::App app("A fleet of audiobookd under random faults", "audiobook-chaos");
  Plan plan;
  plan.seed = std::random_device()();
  double scale = 0;
  app.add_option("--seconds", plan.seconds, "How long there are faults")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app.add_option("--workers", plan.workers, "Of these two are the real program")
      ->check(CLI::Range(3, 1000))
      ->capture_default_str();
  app.add_option("--seed", plan.seed, "Of everything random (default: another every time)");
  app.add_option("--scale", scale, "Factor of all periods (default: 0.05 up to 10 workers, else 0.2)")
      ->check(CLI::Range(0.01, 1.0));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  plan.scale = scale > 0 ? scale : plan.workers <= 10 ? 0.05 : 0.2;
  return Chaos(plan).run();
}

} // namespace
} // namespace audiobookd::tests

int main(int argc, char** argv) {
  try {
    return audiobookd::tests::run_program(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "audiobook-chaos: " << error.what() << '\n';
    return 1;
  }
}
