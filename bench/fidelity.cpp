#include "bench/benchmarks.h"
#include "bench/report.h"
#include "engine/device.h"
#include "engine/kernels/philox_noise.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/s3gen.h"
#include "engine/models/chatterbox/voice.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <utility>

namespace audiobookd::bench {
namespace {

namespace cb = engine::chatterbox;

/// One way of computing a spectrum.
struct Variant {
  std::string name;
  cb::S3GenOptions options{};
  int cfm_steps = 10;
  double prompt_seconds = 10;
};

/// What there is besides fp32, all else as by default: one option at a time.
std::vector<Variant> variants(at::Device device) {
  const cb::S3GenOptions fastest{.half_precision = device.is_cuda()};
  std::vector<Variant> all;
  if (device.is_cuda()) {
    all.push_back({.name = "bf16", .options = fastest});
  }
  if (engine::is_hopper(device)) {
    all.push_back({.name = "cfm_fp8", .options = {.half_precision = true, .cfm_fp8 = true}});
  }
  for (const int steps : {5, 3}) {
    all.push_back({.name = "cfm_steps " + std::to_string(steps), .options = fastest, .cfm_steps = steps});
  }
  for (const int seconds : {6, 3}) {
    all.push_back({.name = "prompt_seconds " + std::to_string(seconds),
                   .options = fastest,
                   .prompt_seconds = static_cast<double>(seconds)});
  }
  return all;
}

/// Spectra of the same tokens from the same noise, however they are computed.
class Spectra {
public:
  Spectra(const Options& options, at::Device device, const cb::Config& config, std::span<const BenchUtterance> workload)
      : options_(options), device_(device), config_(config), workload_(workload) {
    const cb::SpeakerPrompt whole = prompt(10);
    for (std::size_t i = 0; i < workload.size(); ++i) {
      const at::Tensor noise = at::empty(
          {config.flow.mel_channels, whole.prompt_feat.size(0) + 2 * std::int64_t{workload[i].num_tokens}}, device);
      engine::kernels::fill_normal(noise, engine::random_stream(1, {i, 0}, 0), engine::RandomPurpose::flow_noise);
      noises_.push_back(noise);
    }
  }

  struct Result {
    std::vector<at::Tensor> mels; // [80, frames] of each utterance, without the prompt
    cb::StageSeconds seconds;
  };
  [[nodiscard]] Result compute(const Variant& variant) const {
    cb::S3Gen s3gen(config_.flow, config_.hift,
                    engine::StateDict::from_safetensors(options_.checkpoint / "s3gen.safetensors", device_),
                    variant.options);
    const cb::SpeakerPrompt voice = prompt(variant.prompt_seconds);
    const std::size_t batch = options_.synthesis_batch > 0 ? static_cast<std::size_t>(options_.synthesis_batch) : 16;
    (void)pass(s3gen, voice, variant, 0, std::min(batch, workload_.size())); // warm-up
    Result result;
    for (std::size_t first = 0; first < workload_.size(); first += batch) {
      Result part = pass(s3gen, voice, variant, first, std::min(first + batch, workload_.size()));
      std::move(part.mels.begin(), part.mels.end(), std::back_inserter(result.mels));
      result.seconds.cfm += part.seconds.cfm;
    }
    return result;
  }

private:
  [[nodiscard]] cb::SpeakerPrompt prompt(double seconds) const {
    return cb::Voice::from_conds(options_.checkpoint / "conds.pt", config_, device_, seconds).prompt;
  }

  /// Utterances @p first … @p end - 1 together.
  [[nodiscard]] Result pass(cb::S3Gen& s3gen, const cb::SpeakerPrompt& voice, const Variant& variant, std::size_t first,
                            std::size_t end) const {
    std::vector<cb::SynthesisRequest> requests;
    for (std::size_t i = first; i < end; ++i) {
      const std::int64_t own = 2 * std::int64_t{workload_[i].num_tokens}; // frames
      const at::Tensor noise = at::cat(
          {noises_[i].narrow(1, 0, voice.prompt_feat.size(0)), noises_[i].narrow(1, noises_[i].size(1) - own, own)}, 1);
      requests.push_back({workload_[i].speech_tokens, &voice, variant.cfm_steps, cb::InjectedNoise{noise, {}, {}}});
    }
    std::vector<const cb::SynthesisRequest*> pointers;
    for (const cb::SynthesisRequest& request : requests) {
      pointers.push_back(&request);
    }
    Result result;
    result.mels = s3gen.mel_spectrograms(pointers, result.seconds);
    return result;
  }

  const Options& options_;
  at::Device device_;
  const cb::Config& config_;
  std::span<const BenchUtterance> workload_;
  std::vector<at::Tensor> noises_; // [80, frames with the whole prompt] of each utterance
};

/// @p found and @p expected are natural logarithms of mel magnitudes.
Json distance(const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& expected) {
  constexpr double db_per_neper = 8.685889638;
  const at::Tensor difference = at::cat(found, 1) - at::cat(expected, 1);
  return {{"mel_mean_absolute_error", difference.abs().mean().item<double>()},
          {"log_spectral_distance_db", (difference * db_per_neper).square().mean(0).sqrt().mean().item<double>()}};
}

} // namespace

void bench_fidelity(const Options& options) {
  const at::Device device = engine::resolve_device(options.device);
  const engine::StageScope scope(device, engine::Stage::synthesis, options.threads);
  const cb::Config config = cb::Config::load(options.checkpoint);
  const auto workload = make_workload(options.utterances, longest_tokens(config));
  const Spectra spectra(options, device, config, workload);
  const Spectra::Result exact = spectra.compute({.name = "fp32"});
  Json result = settings(options, workload);
  result.erase("dtype");
  result["against"] = "fp32, 10 steps, whole prompt; the same tokens and noise";
  result["fp32"] = {{"cfm_seconds", exact.seconds.cfm}};
  for (const Variant& variant : variants(device)) {
    const Spectra::Result found = spectra.compute(variant);
    result[variant.name] = distance(found.mels, exact.mels);
    result[variant.name]["cfm_seconds"] = found.seconds.cfm;
  }
  print_report("fidelity", result);
}

} // namespace audiobookd::bench
