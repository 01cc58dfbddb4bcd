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
#include <cstdio>
#include <deque>
#include <future>
#include <mutex>
#include <stdexcept>

namespace audiobookd::bench {
namespace {

/// Hands a workload to the engine and stops it when everything came back.
class WorkloadRun : public engine::WorkSource, public engine::Sink {
public:
  explicit WorkloadRun(std::vector<engine::Utterance> utterances)
      : waiting_(utterances.begin(), utterances.end()), open_(waiting_.size()) {}
  std::vector<engine::Utterance> next(std::size_t free_capacity) override {
    std::vector<engine::Utterance> answer;
    while (!waiting_.empty() && answer.size() < free_capacity) {
      answer.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return answer;
  }
  void tokens(engine::UtteranceId, std::span<const std::int32_t>) override {}
  void finished(engine::UtteranceId, engine::Waveform) override { close_one(); }
  void failed(engine::UtteranceId id, std::string why) override {
    std::fprintf(stderr, "utterance %llu failed: %s\n", static_cast<unsigned long long>(id), why.c_str());
    ++failures_;
    close_one();
  }
  /// @throws std::runtime_error when an utterance failed.
  void run(engine::Engine& engine) {
    engine.run(*this, *this, stop_.get_token());
    if (failures_ > 0) {
      throw std::runtime_error("utterances failed; no figure");
    }
  }

private:
  void close_one() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) {
      stop_.request_stop();
    }
  }
  std::deque<engine::Utterance> waiting_; // engine thread only
  std::mutex mutex_;
  std::size_t open_; // protected by mutex_
  int failures_ = 0; // read after run()
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

/// Runs the workload once more, on a thread of its own, and watches the middle of it from here: Kineto insists on the
/// thread that loaded it.
void profile(const Options& options, const std::vector<BenchUtterance>& workload, engine::Engine& engine,
             double run_seconds, Json& result) {
  using Seconds = std::chrono::duration<double>;
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
                                 {"spare_gb", static_cast<double>(plan.spare) / 1e9},
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
  result["load_seconds"] = load_seconds;
  result["warm_up_seconds"] = warm_up_seconds;
  add_rates(result, workload, seconds);
  add_stages(result, before, engine->stats());
  result["resources"] = meter.resources();
  add_memory(result, options, *engine, device);
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
