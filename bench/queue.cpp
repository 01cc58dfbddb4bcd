// What jobs cost beside their rendering: the queue's operations alone, and a burst of short jobs through the daemon
// with an engine that takes no time. Redis is a private one on a Unix socket, with an append-only file.
#include "bench/benchmarks.h"
#include "bench/instant_renderer.h"
#include "bench/meter.h"
#include "bench/private_redis.h"
#include "bench/report.h"
#include "daemon/log.h"
#include "daemon/render_service.h"
#include "jobs/redis_queue.h"
#include "storage/local_storage.h"

#include <algorithm>
#include <fstream>
#include <future>
#include <stdexcept>
#include <thread>

namespace audiobookd::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int rate_jobs_per_burst_job = 20; // as many more operations as make a stretch worth timing
constexpr int most_connections = 8;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// About 1,800 characters, another text for every job.
std::string page(int job) {
  std::string text;
  for (int sentence = 0; text.size() < 1800; ++sentence) {
    text += "This is sentence number " + std::to_string(sentence) + " of the page of job number " +
            std::to_string(job) + ", which nobody has ever read aloud. ";
  }
  return text;
}

void enqueue(jobs::RedisConnection& connection, const std::string& id, const std::string& text) {
  const Json job = {{"id", id}, {"text", text}, {"output", id + ".mp3"}};
  connection.command({"XADD", "tts:q:normal", "*", "job", job.dump()});
}

jobs::RedisQueueSettings queue_settings(const PrivateRedis& redis, const std::string& worker) {
  jobs::RedisQueueSettings settings;
  settings.url = redis.url();
  settings.worker = worker;
  return settings;
}

/// How many calls of @p work a second, which says whether it did anything, on so many threads that each have a number.
template <typename Work>
double rate(int connections, const Work& work) {
  const auto start = Clock::now();
  std::vector<std::future<int>> threads;
  for (int i = 0; i < connections; ++i) {
    threads.push_back(std::async(std::launch::async, [&work, i] { return work(i); }));
  }
  int done = 0;
  for (auto& thread : threads) {
    done += thread.get();
  }
  return done / seconds_since(start);
}

int claim_and_complete_all(jobs::RedisQueue& queue) {
  int done = 0;
  while (const auto claimed = queue.claim()) {
    if (queue.complete(claimed->lease, R"({"audio_seconds":1})") != jobs::LeaseState::held) {
      throw std::runtime_error("job " + claimed->job.id + " was lost while nobody else could take it");
    }
    check_interrupt();
    ++done;
  }
  return done;
}

/// @p num_jobs through a queue of their own, one phase after the other.
Json measure_rates(int connections, int num_jobs) {
  const TempFolder folder;
  PrivateRedis redis(folder.path());
  Json result;
  result["enqueued_per_second"] = rate(connections, [&](int thread) {
    jobs::RedisConnection producer(jobs::parse_redis_url(redis.url()), {}, "producer");
    int added = 0;
    for (int job = thread; job < num_jobs; job += connections, ++added) {
      enqueue(producer, "job-" + std::to_string(job), "A short text.");
    }
    return added;
  });
  std::vector<std::unique_ptr<jobs::RedisQueue>> workers;
  for (int i = 0; i < connections; ++i) {
    workers.push_back(std::make_unique<jobs::RedisQueue>(queue_settings(redis, "worker-" + std::to_string(i))));
    workers.back()->connect();
  }
  result["taken_in_per_second"] = rate(1, [&](int) {
    int taken_in = 0;
    while (const auto reports = static_cast<int>(workers[0]->intake().size())) {
      taken_in += reports;
    }
    return taken_in;
  });
  const double cpu_before = redis.cpu_seconds();
  const auto start = Clock::now();
  int done = 0;
  result["claimed_and_completed_per_second"] =
      rate(connections, [&](int thread) { return claim_and_complete_all(*workers[static_cast<std::size_t>(thread)]); });
  done = static_cast<int>(redis.connection().command({"ZCARD", "tts:ended"}).integer);
  if (done != num_jobs) {
    throw std::runtime_error(std::to_string(done) + " of " + std::to_string(num_jobs) + " jobs are done");
  }
  result["redis_cpu_ms_per_job"] = 1000 * (redis.cpu_seconds() - cpu_before) / done;
  result["redis_share_of_a_core"] = (redis.cpu_seconds() - cpu_before) / seconds_since(start);
  return result;
}

/// The daemon in this process, with an engine that takes no time.
class Daemon {
public:
  explicit Daemon(const PrivateRedis& redis)
      : queue_(queue_settings(redis, "daemon")), service_({.queue = queue_,
                                                           .connect_queue = [this] { return queue_.connect(); },
                                                           .renderer = renderer_,
                                                           .store = store_,
                                                           .storage = storage_,
                                                           .clips = clips_,
                                                           .manager = manager_,
                                                           .encoders = encoders_},
                                                          {}),
        ended_(std::async(std::launch::async, [this] { service_.run(stop_.get_token()); })) {}
  ~Daemon() { stop_.request_stop(); }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  [[nodiscard]] fs::path output(const std::string& id) const { return files_ / (id + ".mp3"); }
  /// @throws what ended the daemon before its time.
  void check() {
    if (ended_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      ended_.get();
      throw std::runtime_error("the daemon ended");
    }
  }

private:
  TempFolder folder_; // goes last
  const fs::path files_ = folder_.path() / "files";
  jobs::RedisQueue queue_;
  InstantRenderer renderer_;
  storage::ChunkStore store_{{.folder = folder_.path() / "chunks", .max_bytes = std::uint64_t{4} << 30}};
  storage::LocalStorage storage_{{.input = (fs::create_directories(files_), files_), .output = files_}};
  daemon::ClipVoices clips_{folder_.path() / "clips", {.clip_decoder = {}, .checkpoint = {}}};
  daemon::Systemd manager_;
  storage::WorkerPool encoders_{storage::default_worker_threads()};
  std::stop_source stop_;
  daemon::RenderService service_;
  std::future<void> ended_; // goes first, and waits
};

/// Waits until @p num_jobs are done. @throws std::runtime_error when one is not going to be.
void wait_until_done(PrivateRedis& redis, Daemon& daemon, int num_jobs) {
  constexpr std::chrono::milliseconds look_period{100};
  std::string last_event = "0";
  while (num_jobs > 0) {
    check_interrupt();
    daemon.check();
    const jobs::RedisValue streams =
        redis.connection().command({"XREAD", "BLOCK", "100", "STREAMS", "tts:events", last_event}, look_period);
    if (streams.is_nil()) {
      continue;
    }
    for (const jobs::RedisValue& entry : streams.at(0).at(1).list) { // fields: id, event, detail
      last_event = entry.at(0).text;
      const std::string& event = entry.at(1).at(3).text;
      if (event == "dead" || event == "retry_wait" || event == "duplicate") {
        throw std::runtime_error("job " + entry.at(1).at(1).text + " is " + event + ": " + entry.at(1).at(5).text);
      }
      num_jobs -= event == "done" ? 1 : 0;
    }
  }
}

/// One page each, all at once, into a daemon that is idle.
Json measure_burst(int num_jobs) {
  const TempFolder folder;
  PrivateRedis redis(folder.path());
  Daemon daemon(redis);
  enqueue(redis.connection(), "warm-up", page(0));
  wait_until_done(redis, daemon, 1);
  std::vector<std::string> ids;
  std::vector<std::string> pages;
  for (int job = 1; job <= num_jobs; ++job) {
    ids.push_back("job-" + std::to_string(job));
    pages.push_back(page(job));
  }
  const double redis_cpu_before = redis.cpu_seconds();
  const Meter meter(at::kCPU);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    enqueue(redis.connection(), ids[i], pages[i]);
  }
  wait_until_done(redis, daemon, num_jobs + 1);
  const double seconds = meter.seconds();
  const Json resources = meter.resources();
  for (const std::string& id : ids) {
    if (!fs::exists(daemon.output(id)) || fs::file_size(daemon.output(id)) == 0) {
      throw std::runtime_error("job " + id + " is done, but its book is missing or empty");
    }
  }
  const daemon::ServiceLimits limits;
  return {{"jobs", num_jobs},
          {"open_at_once", limits.max_jobs + limits.short_jobs},
          {"wall_seconds", seconds},
          {"jobs_per_second", num_jobs / seconds},
          {"ms_per_job", 1000 * seconds / num_jobs},
          {"cpu_ms_per_job", 1000 * resources.at("cpu_cores_used").get<double>() * seconds / num_jobs},
          {"redis_cpu_ms_per_job", 1000 * (redis.cpu_seconds() - redis_cpu_before) / num_jobs}};
}

} // namespace

void bench_queue(const Options& options) {
  if (options.profiled()) {
    throw std::invalid_argument("--shares and --profile watch an engine: queue has none");
  }
  end_on_signals();
  daemon::set_up_log("warning", false);
  const int rate_jobs = rate_jobs_per_burst_job * options.jobs;
  Json report = {{"cores", std::thread::hardware_concurrency()}, {"jobs", rate_jobs}};
  report["1 connection"] = measure_rates(1, rate_jobs);
  report[std::to_string(most_connections) + " connections"] = measure_rates(most_connections, rate_jobs);
  report["burst"] = measure_burst(options.jobs);
  print_report("queue", report);
}

} // namespace audiobookd::bench
