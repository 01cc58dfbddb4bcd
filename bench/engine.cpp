#include "engine/engine.h"

#include "bench/benchmarks.h"
#include "bench/gpu.h"
#include "bench/meter.h"
#include "bench/profiler.h"
#include "bench/report.h"
#include "engine/device.h"
#include "engine/models/chatterbox/config.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <stdexcept>

namespace audiobookd::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

/// Hands a workload to the engine and stops it when everything came back. Beside the workload there may be urgent
/// utterances, which arrive() whenever somebody wants one.
class WorkloadRun : public engine::WorkSource, public engine::Sink {
public:
  explicit WorkloadRun(std::vector<engine::Utterance> utterances, std::vector<engine::Utterance> urgent = {})
      : waiting_(utterances.begin(), utterances.end()), to_arrive_(urgent.begin(), urgent.end()),
        open_books_(waiting_.size()), open_(waiting_.size() + urgent.size()) {}

  std::vector<engine::Utterance> next(std::size_t free_capacity) override {
    const std::lock_guard lock(mutex_);
    return take(waiting_, free_capacity);
  }
  std::vector<engine::Utterance> next_urgent(std::size_t free_capacity) override {
    const std::lock_guard lock(mutex_);
    return take(arrived_, free_capacity);
  }
  /// The next urgent utterance is there. Any thread.
  void arrive() {
    const std::lock_guard lock(mutex_);
    arrivals_.emplace(to_arrive_.front().id, Clock::now());
    arrived_.push_back(std::move(to_arrive_.front()));
    to_arrive_.pop_front();
  }

  void tokens(engine::UtteranceId, std::span<const std::int32_t>) override {}
  void finished(engine::UtteranceId id, engine::Waveform) override {
    const std::lock_guard lock(mutex_);
    if (const auto arrival = arrivals_.find(id); arrival != arrivals_.end()) {
      latencies_.push_back(Seconds(Clock::now() - arrival->second).count());
    } else if (--open_books_ == 0) {
      books_seconds_ = Seconds(Clock::now() - start_).count();
    }
    close_one();
  }
  void failed(engine::UtteranceId id, std::string why) override {
    const std::lock_guard lock(mutex_);
    std::fprintf(stderr, "utterance %llu failed: %s\n", static_cast<unsigned long long>(id), why.c_str());
    ++failures_;
    close_one();
  }
  /// @throws std::runtime_error when an utterance failed.
  void run(engine::Engine& engine) {
    start_ = Clock::now();
    engine.run(*this, *this, stop_.get_token());
    if (failures_ > 0) {
      throw std::runtime_error("utterances failed; no figure");
    }
  }
  /// Seconds from arrival to waveform, of each urgent utterance, in ascending order. After run().
  [[nodiscard]] std::vector<double> latencies() const {
    std::vector<double> sorted = latencies_;
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }
  /// Until the last utterance that was not urgent. After run().
  [[nodiscard]] double books_seconds() const { return books_seconds_; }

private:
  static std::vector<engine::Utterance> take(std::deque<engine::Utterance>& from, std::size_t most) {
    std::vector<engine::Utterance> answer;
    while (!from.empty() && answer.size() < most) {
      answer.push_back(std::move(from.front()));
      from.pop_front();
    }
    return answer;
  }
  void close_one() {
    if (--open_ == 0) {
      stop_.request_stop();
    }
  }
  std::mutex mutex_; // protects all below
  std::deque<engine::Utterance> waiting_, to_arrive_, arrived_;
  std::map<engine::UtteranceId, Clock::time_point> arrivals_;
  std::vector<double> latencies_;
  std::size_t open_books_;
  std::size_t open_;
  int failures_ = 0;
  Clock::time_point start_;
  double books_seconds_ = 0;
  std::stop_source stop_;
};

std::vector<engine::Utterance> engine_utterances(const std::vector<BenchUtterance>& workload, int cfm_steps) {
  std::vector<engine::Utterance> utterances;
  for (const BenchUtterance& u : workload) {
    engine::Utterance utterance;
    utterance.id = utterances.size();
    utterance.text = u.text;
    utterance.key = {utterance.id, 1};
    utterance.forced_tokens = u.num_tokens;
    utterance.cfm_steps = cfm_steps;
    utterances.push_back(std::move(utterance));
  }
  return utterances;
}

/// Sentences of four seconds, for which somebody waits.
std::vector<engine::Utterance> urgent_utterances(int count, int cfm_steps) {
  constexpr int tokens = 100;
  constexpr std::size_t characters = 65; // about as many tokens as these take
  constexpr engine::UtteranceId first_id = 1'000'000;
  std::vector<engine::Utterance> utterances = engine_utterances(make_workload(count, tokens, 3), cfm_steps);
  for (engine::Utterance& u : utterances) {
    u.id += first_id;
    u.key = {u.id, 1};
    u.text = u.text.substr(0, characters);
    u.forced_tokens = tokens;
    u.urgent = true;
  }
  return utterances;
}

/// The workload once more, with urgent utterances that arrive at equal distances while it runs.
Json run_with_urgent(const Options& options, const std::vector<BenchUtterance>& workload, engine::Engine& engine,
                     double seconds_alone, double audio_seconds) {
  WorkloadRun run(engine_utterances(workload, options.cfm_steps), urgent_utterances(options.urgent, options.cfm_steps));
  auto running = std::async(std::launch::async, [&] { run.run(engine); });
  const Seconds between(seconds_alone / (options.urgent + 1));
  for (int i = 0; i < options.urgent; ++i) {
    running.wait_for(between);
    run.arrive();
    engine.notify();
  }
  running.get();
  const std::vector<double> latencies = run.latencies();
  const auto quantile = [&](double share) {
    return latencies[static_cast<std::size_t>(std::ceil(share * static_cast<double>(latencies.size()))) - 1];
  };
  return {{"count", options.urgent},
          {"latency_p50_seconds", quantile(0.5)},
          {"latency_p95_seconds", quantile(0.95)},
          {"latency_max_seconds", latencies.back()},
          {"others_times_real_time", audio_seconds / run.books_seconds()}};
}

/// One urgent utterance with nothing beside it.
double idle_latency(const Options& options, engine::Engine& engine) {
  WorkloadRun run({}, urgent_utterances(1, options.cfm_steps));
  run.arrive();
  run.run(engine);
  return run.latencies().front();
}

/// Runs the workload once more, on a thread of its own, and watches the middle of it from here: Kineto insists on the
/// thread that loaded it.
void profile(const Options& options, const std::vector<BenchUtterance>& workload, engine::Engine& engine,
             double run_seconds, Json& result) {
  const at::Device device = engine::resolve_device(options.device);
  auto run =
      std::async(std::launch::async, [&] { WorkloadRun(engine_utterances(workload, options.cfm_steps)).run(engine); });
  const double length = std::min<double>(options.profile_seconds, run_seconds);
  run.wait_for(Seconds((run_seconds - length) / 2));
  Profiler profiler(device);
  run.wait_for(Seconds(length));
  const GpuActivity activity = profiler.stop(options.profile);
  run.get();
  if (device.is_cuda()) {
    print_kernels(activity);
    result["profile"] = {{"seconds", activity.seconds}, {"shares", shares(activity)}};
  }
}

void add_stages(Json& result, const engine::EngineStats& before, const engine::EngineStats& after) {
  result["prefill_seconds"] = after.prefill_seconds - before.prefill_seconds;
  result["decode_seconds"] = after.decode_seconds - before.decode_seconds;
  result["mean_decode_rows"] = static_cast<double>(after.decode_rows - before.decode_rows) /
                               static_cast<double>(after.decode_steps - before.decode_steps);
  result["encoder_seconds"] = after.encoder_seconds - before.encoder_seconds;
  result["cfm_seconds"] = after.cfm_seconds - before.cfm_seconds;
  result["vocoder_seconds"] = after.vocoder_seconds - before.vocoder_seconds;
}

/// What the engine said it would use of the GPU's memory, beside what is in use.
void add_memory(Json& result, const Options& options, const engine::Engine& engine, at::Device device) {
  if (!device.is_cuda()) {
    return;
  }
  const engine::MemoryPlan plan = engine.info().memory;
  const auto predicted = static_cast<double>(plan.total());
  const auto used = static_cast<double>(used_device_bytes(device));
  result["gpu_memory_budget"] = {{"fraction", options.memory_fraction},
                                 {"predicted_gb", predicted / 1e9},
                                 {"device_used_gb", used / 1e9},
                                 {"used_of_predicted", used / predicted},
                                 {"out_of_memory", engine.stats().out_of_memory},
                                 {"elsewhere_gb", static_cast<double>(plan.elsewhere) / 1e9},
                                 {"weights_gb", static_cast<double>(plan.weights) / 1e9},
                                 {"decode_gb", static_cast<double>(plan.working.decode) / 1e9},
                                 {"synthesis_gb", static_cast<double>(plan.working.synthesis) / 1e9},
                                 {"cache_gb", static_cast<double>(plan.cache) / 1e9}};
}

} // namespace

void bench_engine(const Options& options) {
  const at::Device device = engine::resolve_device(options.device);
  const Meter load_meter(device);
  const auto engine = engine::Engine::load(engine_options(options));
  const double load_seconds = load_meter.seconds();
  const int longest = longest_tokens(engine::chatterbox::Config::load(options.checkpoint));
  const auto workload = make_workload(options.utterances, longest);
  auto warm_up = engine_utterances(make_workload(1, longest, 2), options.cfm_steps);
  warm_up[0].forced_tokens = 25;
  const Meter warm_up_meter(device);
  WorkloadRun(warm_up).run(*engine);
  const double warm_up_seconds = warm_up_meter.seconds();

  const engine::EngineStats before = engine->stats();
  const Meter meter(device);
  WorkloadRun(engine_utterances(workload, options.cfm_steps)).run(*engine);
  const double seconds = meter.seconds();
  Json result = settings(options, workload);
  result["dtype"] = engine->info().dtype;
  result["batch"] = engine->info().max_batch;
  result["synthesis_batch"] = engine->info().synthesis_batch;
  result["cfm_steps"] = options.cfm_steps;
  result["prompt_seconds"] = options.prompt_seconds;
  result["load_seconds"] = load_seconds;
  result["warm_up_seconds"] = warm_up_seconds;
  add_rates(result, workload, seconds);
  add_stages(result, before, engine->stats());
  result["resources"] = meter.resources();
  add_memory(result, options, *engine, device);
  if (options.urgent > 0) {
    const double idle = idle_latency(options, *engine);
    result["urgent"] = run_with_urgent(options, workload, *engine, seconds, audio_seconds(workload));
    result["urgent"]["latency_idle_seconds"] = idle;
  }
  if (options.profiled()) {
    profile(options, workload, *engine, seconds, result);
  }
  print_report("engine", result);
}

void bench_checkpoint_load(const Options& options) {
  const Meter meter(engine::resolve_device(options.device));
  const auto engine = engine::Engine::load(engine_options(options));
  const double seconds = meter.seconds();
  print_report("checkpoint-load", {{"checkpoint", options.checkpoint.filename().string()},
                                   {"device", engine->info().device},
                                   {"wall_seconds", seconds},
                                   {"resources", meter.resources()}});
}

} // namespace audiobookd::bench
