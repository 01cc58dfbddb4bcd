// A whole book, from XADD to the published MP3: a private redis-server, the real daemon, and a user's commands.
#include "bench/benchmarks.h"
#include "bench/child_process.h"
#include "bench/gpu.h"
#include "bench/meter.h"
#include "bench/private_redis.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "engine/device.h"
#include "jobs/redis_connection.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

namespace audiobookd::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds look_period{100}; // how soon an interrupt or a daemon's death is noticed

/// A TOML or JSON string.
std::string quoted(const std::string& text) { return Json(text).dump(); }

/// A daemon with a queue of its own, and jobs for it.
class Service {
public:
  explicit Service(const Options& options) : options_(options), redis_(folder_.path()) {
    for (const char* name : {"in", "out", "chunks"}) {
      fs::create_directory(folder_.path() / name);
    }
    std::ofstream(config()) << config_text();
  }

  /// Starts the program that lies beside this one; does not wait for it.
  void start() {
    const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "audiobookd";
    if (!fs::exists(program)) {
      throw std::runtime_error(program.string() + " is missing: build everything first");
    }
    daemon_.emplace(std::vector<std::string>{program, "--config", config()}, log());
  }
  [[nodiscard]] ChildProcess& daemon() { return *daemon_; }

  void write_input(const std::string& id, const std::string& text) {
    std::ofstream(folder_.path() / "in" / (id + ".txt")) << text;
  }

  /// As any producer does. Pauses are left out: what is counted is speech.
  void enqueue(const std::string& id) {
    Json job = new_job(id);
    job["input"] = id + ".txt";
    redis_.connection().command({"XADD", "tts:q:normal", "*", "job", job.dump()});
  }

  /// A short text that somebody waits for.
  void request(const std::string& id, const std::string& text) {
    Json job = new_job(id);
    job["text"] = text;
    job["class"] = "interactive";
    redis_.connection().command({"XADD", "tts:q:high", "*", "job", job.dump()});
  }

  /// Waits until all jobs of @p ids are done. @param meanwhile called with every job that is done, and now and then
  /// with an empty id. @throws std::runtime_error when one of any jobs is not going to be done.
  void wait_for(std::set<std::string> ids, const std::function<void(const std::string&)>& meanwhile = {}) {
    const auto tell = [&meanwhile](const std::string& id) {
      if (meanwhile) {
        meanwhile(id);
      }
    };
    while (!ids.empty()) {
      tell({});
      for (const auto& [id, event, detail] : next_events()) {
        if (event == "done") {
          ids.erase(id);
          tell(id);
        } else if (event == "dead" || event == "retry_wait" || event == "cancelled") {
          throw std::runtime_error("job " + id + " is " + event + ": " + detail);
        }
      }
    }
  }

  /// The result of a job that is done. @throws std::runtime_error when its book is not there.
  [[nodiscard]] Json result(const std::string& id) {
    const fs::path book = folder_.path() / "out" / (id + ".mp3");
    if (!fs::exists(book) || fs::file_size(book) == 0) {
      throw std::runtime_error("job " + id + " is done, but " + book.string() + " is missing or empty");
    }
    return Json::parse(field(id, "result"));
  }

  /// When a job that is done was added, claimed and finished: Unix time in milliseconds of Redis's clock.
  struct Times {
    std::int64_t added, claimed, finished;
  };
  [[nodiscard]] Times times(const std::string& id) {
    const auto number = [&](const char* name) { return std::stoll(field(id, name)); }; // an entry's id begins with it
    return {number("entry"), number("started_at"), number("finished_at")};
  }

private:
  struct Event {
    std::string id, event, detail;
  };

  [[nodiscard]] Json new_job(const std::string& id) const {
    return {{"id", id},
            {"output", id + ".mp3"},
            {"params", {{"cfm_steps", options_.cfm_steps}}},
            {"pauses", {{"sentence_ms", 0}, {"paragraph_ms", 0}, {"scene_ms", 0}, {"chapter_ms", 0}}}};
  }
  [[nodiscard]] std::string field(const std::string& id, const char* name) {
    return redis_.connection().command({"HGET", "tts:job:" + id, name}).text;
  }

  [[nodiscard]] std::string config() const { return folder_.path() / "audiobookd.toml"; }
  [[nodiscard]] fs::path log() const { return folder_.path() / "audiobookd.log"; }

  [[nodiscard]] std::string config_text() const {
    const auto folder = [this](const char* name) { return quoted(folder_.path() / name); };
    std::string text = "[redis]\nurl = " + quoted(redis_.url());
    text += "\n[paths]\ninput_root = " + folder("in") + "\noutput_root = " + folder("out");
    text += "\nchunk_store = " + folder("chunks");
    text += "\n[engine]\ncheckpoint = " + quoted(fs::absolute(options_.checkpoint));
    text += "\ndevice = " + quoted(options_.device) + "\ndtype = " + quoted(options_.dtype);
    text += "\nmax_batch = " + std::to_string(options_.batch);
    text += "\nsynthesis_batch = " + std::to_string(options_.synthesis_batch);
    text += "\ngpu_memory_fraction = " + std::to_string(options_.memory_fraction);
    text += "\ncpu_threads = " + std::to_string(options_.threads);
    text += "\n[queue]\nmax_jobs = " + std::to_string(options_.books);
    text += "\n[gates]\nmax_retries = 0\nenabled = "; // how much is rendered again is the model's affair, not ours
    text += options_.no_gates ? "false\n" : "true\n";
    return text;
  }

  /// Those that came since the last call; waits some time for the first.
  std::vector<Event> next_events() {
    check_interrupt();
    if (!daemon_->is_running()) {
      throw std::runtime_error("the daemon ended; its log: " + end_of_file(log()));
    }
    const std::string period = std::to_string(look_period.count());
    const jobs::RedisValue streams =
        redis_.connection().command({"XREAD", "BLOCK", period, "STREAMS", "tts:events", last_event_}, look_period);
    std::vector<Event> events;
    if (!streams.is_nil()) {
      for (const jobs::RedisValue& entry : streams.at(0).at(1).list) { // fields: id, event, detail
        last_event_ = entry.at(0).text;
        const jobs::RedisValue& fields = entry.at(1);
        events.push_back({fields.at(1).text, fields.at(3).text, fields.at(5).text});
      }
    }
    return events;
  }

  const Options& options_;
  TempFolder folder_; // goes last
  PrivateRedis redis_;
  std::optional<ChildProcess> daemon_;
  std::string last_event_ = "0";
};

/// Those that the daemon will use: "all" GPUs, or names with commas between them.
std::vector<at::Device> devices_of(const std::string& names) {
  std::vector<at::Device> devices;
  if (names == "all") {
    for (int i = 0; i < engine::num_gpus(); ++i) {
      devices.push_back(engine::resolve_device("cuda:" + std::to_string(i)));
    }
    return devices.empty() ? std::vector{engine::resolve_device("cuda")} : devices; // which says that there is none
  }
  std::istringstream list(names);
  for (std::string name; std::getline(list, name, ',');) {
    devices.push_back(engine::resolve_device(name));
  }
  return devices;
}

/// Short requests beside books: each comes a random time, 0.5 to 2.5 s, after the one before was answered.
class Requests {
public:
  Requests(Service& service, int count) : service_(service), left_(count) { draw_next(); }

  /// Sends the next request when its time has come. @param done a job that is done, or empty.
  void look(const std::string& done) {
    if (!open_.empty() && done == open_) {
      const auto [added, claimed, finished] = service_.times(open_);
      const Json result = service_.result(open_);
      first_audio_ms_.push_back(static_cast<double>(claimed - added) + result.at("first_audio_ms").get<double>());
      whole_ms_.push_back(static_cast<double>(finished - added));
      open_.clear();
      draw_next();
    } else if (open_.empty() && left_ > 0 && Clock::now() >= next_) {
      open_ = "request-" + std::to_string(--left_);
      service_.request(open_, request_text(static_cast<unsigned>(1000 + left_)));
    }
  }

  /// Waits for the one that is open. @return what was measured, from XADD on.
  Json finish() {
    if (!open_.empty()) {
      service_.wait_for({open_}, [this](const std::string& id) { look(id); });
    }
    return {{"requests", first_audio_ms_.size()},
            {"first_audio_ms", percentiles(first_audio_ms_)},
            {"published_ms", percentiles(whole_ms_)}};
  }

private:
  using Clock = std::chrono::steady_clock;

  void draw_next() {
    next_ = Clock::now() + std::chrono::milliseconds(std::uniform_int_distribution<int>(500, 2500)(random_));
  }
  static Json percentiles(std::vector<double> values) {
    if (values.empty()) {
      return nullptr;
    }
    std::sort(values.begin(), values.end());
    const auto at = [&values](double share) { // the smallest value that so many do not exceed
      return values[static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size()))) - 1];
    };
    return {{"p50", at(0.5)}, {"p95", at(0.95)}, {"max", values.back()}};
  }

  Service& service_;
  int left_;
  std::string open_; // sent and not yet answered
  Clock::time_point next_;
  std::mt19937 random_{1};
  std::vector<double> first_audio_ms_, whole_ms_;
};

/// Where the wall clock of a single book went: before the engine could begin, while it delivered, after its last
/// waveform (checks, chunk store, encoding), and outside the book (claim, publishing, events).
void add_wall_clock(Json& report, const Json& result, double wall_seconds) {
  const double book = result.at("wall_seconds").get<double>();
  const double plan = result.at("plan_seconds").get<double>();
  const double tail = result.at("tail_seconds").get<double>();
  report["wall_clock"] = {{"plan_seconds", plan},
                          {"engine_seconds", book - plan - tail},
                          {"tail_seconds", tail},
                          {"claim_and_publish_seconds", wall_seconds - book}};
}

/// What the results of @p ids say, added up.
void add_results(Json& report, Service& service, const std::set<std::string>& ids, double wall_seconds) {
  double audio = 0;
  std::int64_t utterances = 0;
  for (const std::string& id : ids) {
    const Json result = service.result(id);
    if (result.at("reused").get<int>() != 0) {
      throw std::runtime_error("job " + id + " found audio of an earlier run: no figure");
    }
    audio += result.at("audio_seconds").get<double>();
    utterances += result.at("utterances").get<std::int64_t>();
    if (ids.size() == 1) { // of books that run together each would count the others' work
      report["seconds_per_stage"] = result.at("seconds_per_stage");
      add_wall_clock(report, result, wall_seconds);
    }
    report["model"] = result.at("model");
    report["synthetic"] = result.at("synthetic");
    report["lengths"] = result.at("synthetic").get<bool>() ? "predicted from the text" : "spoken";
  }
  report["utterances"] = utterances;
  report["audio_seconds"] = audio;
  report["mean_utterance_seconds"] = audio / static_cast<double>(utterances);
  report["wall_seconds"] = wall_seconds;
  report["times_real_time"] = audio / wall_seconds;
}

} // namespace

void bench_book(const Options& options) {
  if (options.profiled()) {
    throw std::invalid_argument("--shares and --profile do not reach into the daemon: use them with engine");
  }
  end_on_signals();
  const std::vector<at::Device> devices = devices_of(options.device);
  Service service(options);
  std::set<std::string> books;
  for (int i = 0; i < options.books; ++i) {
    const std::string id = "book-" + std::to_string(i + 1);
    service.write_input(id, book_text(std::max(1, options.utterances / options.books), static_cast<unsigned>(i) + 1));
    books.insert(id);
  }
  service.write_input("warm-up", "A short sentence warms everything up.");

  const Meter start_meter(at::kCPU); // the GPU is the daemon's
  service.start();
  double start_seconds = 0;
  if (!options.cold) {
    service.enqueue("warm-up");
    service.wait_for({"warm-up"});
    start_seconds = start_meter.seconds();
  }
  const Meter meter(at::kCPU);
  const double cpu_before = options.cold ? 0 : service.daemon().cpu_seconds();
  for (const std::string& id : books) {
    service.enqueue(id);
  }
  Requests requests(service, options.interactive);
  service.wait_for(books, [&requests](const std::string& id) { requests.look(id); });
  const double seconds = options.cold ? start_meter.seconds() : meter.seconds();

  Json report = {{"checkpoint", options.checkpoint.filename().string()},
                 {"device", engine::device_name(devices.front())},
                 {"devices", devices.size()},
                 {"dtype", options.dtype},
                 {"cpu_threads", options.threads},
                 {"batch", options.batch},
                 {"synthesis_batch", options.synthesis_batch},
                 {"cfm_steps", options.cfm_steps},
                 {"books", options.books},
                 {"cold", options.cold}};
  add_results(report, service, books, seconds);
  if (!options.cold) {
    report["start_seconds"] = start_seconds; // until a first sentence was published
  }
  if (options.interactive > 0) {
    report["interactive"] = requests.finish();
  }
  report["resources"] = {{"cpu_cores_used", (service.daemon().cpu_seconds() - cpu_before) / seconds},
                         {"peak_rss_gb", service.daemon().peak_rss_bytes() / 1e9}};
  for (const at::Device device : devices) {
    if (device.is_cuda()) {
      report["resources"]["device_used_gb"].push_back(static_cast<double>(used_device_bytes(device)) / 1e9);
    }
  }
  print_report("book", report);
}

} // namespace audiobookd::bench
