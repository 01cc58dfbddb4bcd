#include "bench/benchmarks.h"
#include "bench/ceilings.h"
#include "bench/gpu.h"
#include "bench/meter.h"
#include "bench/profiler.h"
#include "bench/report.h"
#include "bench/synthesis_work.h"
#include "engine/device.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/s3gen.h"
#include "engine/models/chatterbox/voice.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

namespace audiobookd::bench {
namespace {

namespace cb = engine::chatterbox;

/// The workload in parts of one call each.
class Synthesis {
public:
  Synthesis(cb::S3Gen& s3gen, std::span<const cb::SynthesisRequest> requests, std::size_t batch)
      : s3gen_(s3gen), requests_(requests), batch_(batch) {}

  [[nodiscard]] std::size_t calls() const { return (requests_.size() + batch_ - 1) / batch_; }

  /// Calls @p begin … @p end - 1, each started before the one before it is waited for, as the engine does.
  cb::StageSeconds run(std::size_t begin, std::size_t end) {
    cb::StageSeconds sum;
    std::optional<cb::StartedSynthesis> before;
    for (std::size_t i = begin; i < end; ++i) {
      cb::StartedSynthesis started = start(i);
      if (before) {
        add(before->wait().seconds, sum);
      }
      before = std::move(started);
    }
    if (before) {
      add(before->wait().seconds, sum);
    }
    return sum;
  }

private:
  cb::StartedSynthesis start(std::size_t i) {
    const std::size_t first = i * batch_;
    return s3gen_.start(requests_.subspan(first, std::min(batch_, requests_.size() - first)));
  }

  static void add(const cb::StageSeconds& seconds, cb::StageSeconds& sum) {
    sum.encoder += seconds.encoder;
    sum.cfm += seconds.cfm;
    sum.vocoder += seconds.vocoder;
  }

  cb::S3Gen& s3gen_;
  std::span<const cb::SynthesisRequest> requests_;
  std::size_t batch_;
};

/// Repeats some calls from the middle of the workload and watches them.
void profile(const Options& options, at::Device device, Synthesis& synthesis, double call_seconds, Json& result) {
  const auto wanted = static_cast<std::size_t>(std::ceil(options.profile_seconds / call_seconds));
  const std::size_t count = std::min(synthesis.calls(), wanted);
  const std::size_t begin = (synthesis.calls() - count) / 2;
  Profiler profiler(device);
  synthesis.run(begin, begin + count);
  const GpuActivity activity = profiler.stop(options.profile);
  if (device.is_cuda()) {
    print_kernels(activity);
    result["profile"] = {{"calls", count}, {"seconds", activity.seconds}, {"shares", shares(activity)}};
  }
}

/// Operations and the share of the matrix product's rate that each stage reaches.
Json roofline_json(const SynthesisWork& work, const cb::StageSeconds& seconds, double total_seconds,
                   const Ceilings& ceilings) {
  const double cfm = work.cfm_gemm_flop + work.cfm_attention_flop;
  const double all = work.encoder_flop + cfm + work.vocoder_flop;
  const auto share = [&](double flop, double time) { return flop / time / ceilings.flop_per_second; };
  return {{"counted", "multiplications of layers and attention"},
          {"encoder_tflop", work.encoder_flop / 1e12},
          {"cfm_gemm_tflop", work.cfm_gemm_flop / 1e12},
          {"cfm_attention_tflop", work.cfm_attention_flop / 1e12},
          {"vocoder_tflop", work.vocoder_flop / 1e12},
          {"matmul", ceilings.matmul},
          {"matmul_tflop_per_second", ceilings.flop_per_second / 1e12},
          {"tflop_per_second", all / total_seconds / 1e12},
          {"encoder_share_of_matmul", share(work.encoder_flop, seconds.encoder)},
          {"cfm_share_of_matmul", share(cfm, seconds.cfm)},
          {"vocoder_share_of_matmul", share(work.vocoder_flop, seconds.vocoder)},
          {"share_of_matmul", share(all, total_seconds)}};
}

} // namespace

void bench_synthesis(const Options& options) {
  const at::Device device = engine::resolve_device(options.device);
  const engine::StageScope scope(device, engine::Stage::synthesis, options.threads);
  const Ceilings ceilings = measure_ceilings(device);
  const Meter load(device);
  const cb::Config config = cb::Config::load(options.checkpoint);
  cb::S3Gen s3gen(config.flow, config.hift,
                  engine::StateDict::from_safetensors(options.checkpoint / "s3gen.safetensors", device),
                  {.half_precision = device.is_cuda() && options.dtype != "fp32", .cfm_fp8 = options.cfm_fp8});
  const auto voice = cb::Voice::from_conds(options.checkpoint / "conds.pt", config, device, options.prompt_seconds);
  const auto workload = make_workload(options.utterances, longest_tokens(config));
  std::vector<cb::SynthesisRequest> requests;
  for (const BenchUtterance& u : workload) {
    requests.push_back(
        {u.speech_tokens, &voice.prompt, options.cfm_steps, engine::random_stream(1, {requests.size(), 0}, 0)});
  }
  const std::size_t batch =
      options.synthesis_batch > 0 ? static_cast<std::size_t>(options.synthesis_batch) : (device.is_cuda() ? 32 : 1);
  Synthesis synthesis(s3gen, requests, batch);
  const double load_seconds = load.seconds();
  const Meter warm_up(device);
  synthesis.run(0, 1);
  const double warm_up_seconds = warm_up.seconds();

  SynthesisWork work;
  for (const BenchUtterance& u : workload) {
    work +=
        synthesis_work(config.flow, config.hift, voice.prompt.prompt_token.size(0), u.num_tokens, options.cfm_steps);
  }
  const Meter meter(device);
  const cb::StageSeconds stages = synthesis.run(0, synthesis.calls());
  const double seconds = meter.seconds();
  Json result = settings(options, workload);
  result["dtype"] = s3gen.dtype();
  result["cfm_fp8"] = options.cfm_fp8;
  result["batch"] = batch;
  result["cfm_steps"] = options.cfm_steps;
  result["prompt_seconds"] = options.prompt_seconds;
  result["load_seconds"] = load_seconds;
  result["warm_up_seconds"] = warm_up_seconds;
  add_rates(result, workload, seconds);
  result["encoder_seconds"] = stages.encoder;
  result["cfm_seconds"] = stages.cfm;
  result["vocoder_seconds"] = stages.vocoder;
  result["resources"] = meter.resources();
  result["roofline"] = roofline_json(work, stages, seconds, ceilings);
  if (options.profiled()) {
    profile(options, device, synthesis, seconds / static_cast<double>(synthesis.calls()), result);
  }
  print_report("synthesis", result);
}

} // namespace audiobookd::bench
