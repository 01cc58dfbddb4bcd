// S3Gen: checking requests, putting them into passes, and running the stages.
#include "engine/models/chatterbox/s3gen.h"

#include "engine/device.h"
#include "engine/kernels/philox_noise.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <algorithm>
#include <c10/util/StringUtil.h>
#include <functional>
#include <numbers>
#include <numeric>
#include <stdexcept>

#ifdef AUDIOBOOKD_WITH_CUDA
#include "engine/cuda/cuda_flow.h"
#include "engine/cuda/cuda_flow_encoder.h"
#include "engine/cuda/cuda_hift.h"
#endif

namespace audiobookd::engine::chatterbox {
namespace {

using Requests = std::span<const SynthesisRequest* const>;

constexpr std::int64_t fade_half_samples = 480; // 20 ms
/// On CUDA. With both guidance rows this is five times 128 rows for each of an H200's 132 multiprocessors.
constexpr std::int64_t cuda_frames_per_pass = 42240;

std::int64_t num_tokens(const SynthesisRequest& request) {
  return static_cast<std::int64_t>(request.speech_tokens.size());
}

std::int64_t num_prompt_frames(const SynthesisRequest& request) { return request.prompt->prompt_feat.size(0); }

std::int64_t num_mel_frames(const SynthesisRequest& request) {
  return FlowEncoder::frames_per_token * num_tokens(request);
}

at::Tensor make_fade(at::Device device) {
  const at::Tensor rise = (at::cos(at::linspace(std::numbers::pi, 0, fade_half_samples, at::kFloat)) + 1) / 2;
  return at::cat({at::zeros({fade_half_samples}), rise}).to(device);
}

void require_shape(const std::string& what, const at::Tensor& found, at::IntArrayRef expected) {
  if (!found.defined() || found.sizes() != expected) {
    throw std::invalid_argument(c10::str(what, ": expected shape ", expected, ", found ",
                                         found.defined() ? c10::str(found.sizes()) : std::string("nothing")));
  }
}

/// While it lives, ATen on a GPU multiplies matrices in bf16 and keeps norms and the sums of residuals in fp32.
class HalfProducts {
public:
  explicit HalfProducts(bool on)
      : before_(at::autocast::is_autocast_enabled(at::kCUDA)), dtype_(at::autocast::get_autocast_dtype(at::kCUDA)) {
    at::autocast::set_autocast_enabled(at::kCUDA, on);
    at::autocast::set_autocast_dtype(at::kCUDA, at::kBFloat16);
  }
  ~HalfProducts() {
    at::autocast::set_autocast_enabled(at::kCUDA, before_);
    at::autocast::set_autocast_dtype(at::kCUDA, dtype_);
  }
  HalfProducts(const HalfProducts&) = delete;
  HalfProducts& operator=(const HalfProducts&) = delete;

private:
  bool before_;
  at::ScalarType dtype_;
};

/// Order in which requests are taken: equal step counts together, long ones first, so that a pass has little padding.
std::vector<const SynthesisRequest*> by_steps_and_length(std::span<const SynthesisRequest> requests) {
  std::vector<const SynthesisRequest*> order;
  for (const SynthesisRequest& request : requests) {
    order.push_back(&request);
  }
  std::stable_sort(order.begin(), order.end(), [](const SynthesisRequest* a, const SynthesisRequest* b) {
    return a->cfm_steps != b->cfm_steps ? a->cfm_steps < b->cfm_steps : num_tokens(*a) > num_tokens(*b);
  });
  return order;
}

/// The first requests of @p rest that make up one pass: one step count, at least one request, at most @p limit frames.
/// Passes of one step count are about equally long, for a short one would leave most of a GPU idle.
Requests next_pass(Requests rest, std::int64_t limit) {
  const auto num_frames = [](const SynthesisRequest* request) {
    return num_prompt_frames(*request) + num_mel_frames(*request);
  };
  const auto end = std::find_if(rest.begin(), rest.end(), [&](const SynthesisRequest* request) {
    return request->cfm_steps != rest[0]->cfm_steps;
  });
  const std::int64_t all = std::transform_reduce(rest.begin(), end, std::int64_t{0}, std::plus<>(), num_frames);
  const std::int64_t passes = (all + limit - 1) / limit;
  const std::int64_t share = (all + passes - 1) / passes;
  auto last = rest.begin();
  std::int64_t frames = num_frames(*last);
  while (++last != end && frames + num_frames(*last) <= limit && frames + num_frames(*last) / 2 <= share) {
    frames += num_frames(*last);
  }
  return rest.first(static_cast<std::size_t>(last - rest.begin()));
}

void require_gpu(at::Device device) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (device.is_cuda()) {
    return;
  }
#endif
  throw std::invalid_argument("S3Gen computes in half precision on a GPU only, not on device \"" + device.str() + "\"");
}

/// The bf16 counterpart of @p encoder; null where the kernels do not suit its dimensions.
std::unique_ptr<TokenEncoder> make_half_encoder([[maybe_unused]] const FlowEncoder& encoder) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (cuda::CudaFlowEncoder::suits(encoder)) {
    return std::make_unique<cuda::CudaFlowEncoder>(encoder);
  }
#endif
  return nullptr;
}

/// The bf16 counterpart of @p decoder on a GPU.
std::unique_ptr<const FlowSolver> make_half_solver([[maybe_unused]] const CfmDecoder& decoder,
                                                   [[maybe_unused]] bool fp8) {
#ifdef AUDIOBOOKD_WITH_CUDA
  return std::make_unique<cuda::CudaFlow>(decoder, fp8 ? cuda::FlowKernels::fp8 : cuda::FlowKernels::fastest);
#else
  return nullptr;
#endif
}

/// The bf16 counterpart of @p vocoder; null where the kernels do not suit its dimensions, which the fp32 one serves.
std::unique_ptr<const Vocoder> make_half_vocoder([[maybe_unused]] const Hift& vocoder) {
#ifdef AUDIOBOOKD_WITH_CUDA
  if (cuda::CudaHift::suits(vocoder)) {
    return std::make_unique<cuda::CudaHift>(vocoder);
  }
#endif
  return nullptr;
}

/// The waves in host memory; from a GPU in one copy to pinned memory, which is not waited for.
std::vector<at::Tensor> start_copy_to_host(const std::vector<at::Tensor>& waves) {
  if (waves[0].is_cpu()) {
    return waves;
  }
  const at::Tensor together = at::cat(waves);
  const at::Tensor host = host_tensor(together.sizes(), at::kFloat, together.device());
  host.copy_(together, /*non_blocking=*/true);
  std::vector<at::Tensor> parts;
  std::int64_t start = 0;
  for (const at::Tensor& wave : waves) {
    parts.push_back(host.narrow(0, start, wave.size(0)));
    start += wave.size(0);
  }
  return parts;
}

} // namespace

S3Gen::S3Gen(const FlowConfig& flow, const HiftConfig& hift, const StateDict& weights, const S3GenOptions& options)
    : config_(flow), device_(at::kCPU), frames_per_pass_(options.frames_per_pass),
      encoder_(flow, weights.select("flow.")), decoder_(flow, weights.select("flow.")),
      vocoder_(hift, flow.mel_channels, weights.select("mel2wav.")) {
  device_ = vocoder_.fourier().window().device();
  if (frames_per_pass_ == 0) {
    frames_per_pass_ = device_.is_cpu() ? 1 : cuda_frames_per_pass;
  }
  if (options.cfm_fp8 && !options.half_precision) {
    throw std::invalid_argument("cfm_fp8 needs half precision");
  }
  if (options.half_precision) {
    require_gpu(device_);
    half_encoder_ = make_half_encoder(encoder_);
    half_solver_ = make_half_solver(decoder_, options.cfm_fp8);
    half_vocoder_ = make_half_vocoder(vocoder_);
  }
  fade_ = make_fade(device_);
}

std::string S3Gen::dtype() const {
  return half_solver_ == nullptr ? "fp32" : half_vocoder_ == nullptr ? "bf16 (vocoder fp32)" : "bf16";
}

void S3Gen::check(const SynthesisRequest& request, std::size_t index) const {
  const std::string name = c10::str("synthesis request ", index);
  if (request.speech_tokens.empty()) {
    throw std::invalid_argument(name + ": expected at least one speech token, found none");
  }
  for (std::size_t i = 0; i < request.speech_tokens.size(); ++i) {
    if (request.speech_tokens[i] < 0 || request.speech_tokens[i] >= config_.speech_vocab_size) {
      throw std::invalid_argument(c10::str(name, ": speech token at position ", i, ": expected 0 to ",
                                           config_.speech_vocab_size - 1, ", found ", request.speech_tokens[i]));
    }
  }
  if (request.cfm_steps < 1) {
    throw std::invalid_argument(c10::str(name, ": cfm_steps: expected at least 1, found ", request.cfm_steps));
  }
  if (request.prompt == nullptr) {
    throw std::invalid_argument(name + ": prompt: expected a voice, found none");
  }
  const SpeakerPrompt& prompt = *request.prompt;
  require_shape(name + ": prompt_token", prompt.prompt_token, {prompt.prompt_token.numel()});
  require_shape(name + ": prompt_feat", prompt.prompt_feat,
                {FlowEncoder::frames_per_token * prompt.prompt_token.numel(), config_.mel_channels});
  require_shape(name + ": embedding", prompt.embedding, {config_.speaker_embed_dim});
  check_noise(request, name);
}

void S3Gen::check_noise(const SynthesisRequest& request, const std::string& name) const {
  const auto* injected = std::get_if<InjectedNoise>(&request.noise);
  if (injected == nullptr) {
    return;
  }
  const std::int64_t harmonics = vocoder_.source().num_harmonics();
  require_shape(name + ": flow noise", injected->flow,
                {config_.mel_channels, num_prompt_frames(request) + num_mel_frames(request)});
  require_shape(name + ": source phase", injected->source_phase, {harmonics});
  require_shape(name + ": source noise", injected->source_noise,
                {harmonics, num_mel_frames(request) * vocoder_.samples_per_frame()});
}

/// Prompt tokens and tokens of every request, one after another. @return [rows] int64 on the device
at::Tensor S3Gen::packed_tokens(Requests requests) const {
  std::vector<std::int32_t> own;
  for (const SynthesisRequest* request : requests) {
    own.insert(own.end(), request->speech_tokens.begin(), request->speech_tokens.end());
  }
  const at::Tensor on_device = upload(at::tensor(own, at::kInt), device_).to(at::kLong);
  std::vector<at::Tensor> parts;
  std::int64_t start = 0;
  for (const SynthesisRequest* request : requests) {
    parts.push_back(request->prompt->prompt_token);
    parts.push_back(on_device.narrow(0, start, num_tokens(*request)));
    start += num_tokens(*request);
  }
  return at::cat(parts);
}

FlowConditions S3Gen::conditions(Requests requests, const at::Tensor& mu, const PackedRows& frames) const {
  std::vector<at::Tensor> embeddings;
  for (const SynthesisRequest* request : requests) {
    embeddings.push_back(request->prompt->embedding);
  }
  const at::Tensor projected = decoder_.speaker_projection(at::stack(embeddings));
  FlowConditions conditions{mu, at::empty_like(mu), at::zeros_like(mu)};
  for (std::int64_t i = 0; i < frames.count(); ++i) {
    conditions.speaker.narrow(0, frames.start(i), frames.length(i)).copy_(projected[i]);
    const at::Tensor& feat = requests[static_cast<std::size_t>(i)]->prompt->prompt_feat;
    conditions.prompt_mel.narrow(0, frames.start(i), feat.size(0)).copy_(feat);
  }
  return conditions;
}

/// One draw per utterance over prompt and generated frames together, channel by channel. @return [frames, 80]
at::Tensor S3Gen::start_noise(Requests requests, const PackedRows& frames) const {
  const at::Tensor channels_first = at::empty({config_.mel_channels, frames.total()}, device_);
  for (std::int64_t i = 0; i < frames.count(); ++i) {
    const SynthesisRequest& request = *requests[static_cast<std::size_t>(i)];
    const at::Tensor own = channels_first.narrow(1, frames.start(i), frames.length(i));
    if (const auto* injected = std::get_if<InjectedNoise>(&request.noise)) {
      own.copy_(injected->flow);
    } else {
      kernels::fill_normal(own, std::get<RandomStream>(request.noise), RandomPurpose::flow_noise);
    }
  }
  return channels_first.t().contiguous();
}

VocoderInput S3Gen::vocoder_input(const SynthesisRequest& request, const at::Tensor& mel) const {
  if (const auto* injected = std::get_if<InjectedNoise>(&request.noise)) {
    return {mel, injected->source_phase, injected->source_noise};
  }
  const RandomStream& stream = std::get<RandomStream>(request.noise);
  const std::int64_t harmonics = vocoder_.source().num_harmonics();
  at::Tensor phase = at::empty({harmonics});
  kernels::fill_uniform(phase, stream, RandomPurpose::source_phase);
  const at::Tensor noise = at::empty({harmonics, mel.size(1) * vocoder_.samples_per_frame()}, device_);
  kernels::fill_normal(noise, stream, RandomPurpose::source_noise);
  return {mel, upload(phase.mul_(2).sub_(1).mul_(std::numbers::pi), device_), noise};
}

at::Tensor S3Gen::mean_of(const at::Tensor& tokens, const PackedRows& rows) {
  if (half_encoder_ != nullptr) {
    return half_encoder_->encode(tokens, rows);
  }
  const HalfProducts half(half_solver_ != nullptr);
  const std::lock_guard lock(encoder_mutex_);
  return encoder_.forward(tokens, rows).to(at::kFloat);
}

S3Gen::Mels S3Gen::start_mels(Requests requests, const Probe& probe) {
  std::vector<std::int64_t> lengths;
  for (const SynthesisRequest* request : requests) {
    lengths.push_back(request->prompt->prompt_token.numel() + num_tokens(*request));
  }
  const PackedRows rows(std::move(lengths), device_);
  const at::Tensor mu = mean_of(packed_tokens(requests), rows);
  Moment encoded(device_);

  const PackedRows frames = rows.stretched(FlowEncoder::frames_per_token);
  const FlowSolver& solver = half_solver_ ? *half_solver_ : decoder_;
  const at::Tensor mel = solver.solve(start_noise(requests, frames), conditions(requests, mu, frames), frames,
                                      requests[0]->cfm_steps, probe);
  std::vector<at::Tensor> own;
  for (std::int64_t i = 0; i < frames.count(); ++i) {
    const SynthesisRequest& request = *requests[static_cast<std::size_t>(i)];
    own.push_back(
        mel.narrow(0, frames.start(i) + num_prompt_frames(request), num_mel_frames(request)).t().contiguous());
  }
  return {std::move(own), std::move(encoded), Moment(device_)};
}

std::vector<at::Tensor> S3Gen::mel_spectrograms(Requests requests, StageSeconds& seconds, const Probe& probe) {
  const Moment begin(device_);
  Mels mels = start_mels(requests, probe);
  mels.decoded.wait();
  seconds.encoder += begin.seconds_until(mels.encoded);
  seconds.cfm += mels.encoded.seconds_until(mels.decoded);
  return std::move(mels.own);
}

std::vector<at::Tensor> S3Gen::waveforms(Requests requests, std::span<const at::Tensor> mels,
                                         const Probe& probe) const {
  std::vector<VocoderInput> inputs;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    inputs.push_back(vocoder_input(*requests[i], mels[i]));
  }
  const Vocoder& vocoder = half_vocoder_ ? *half_vocoder_ : vocoder_;
  std::vector<at::Tensor> waves = vocoder.render(inputs, probe);
  for (at::Tensor& wave : waves) {
    const std::int64_t faded = std::min(fade_.size(0), wave.size(0));
    wave.narrow(0, 0, faded).mul_(fade_.narrow(0, 0, faded));
  }
  return waves;
}

StartedSynthesis S3Gen::start(std::span<const SynthesisRequest> requests) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    check(requests[i], i);
  }
  StartedSynthesis started(requests.size());
  const std::vector<const SynthesisRequest*> order = by_steps_and_length(requests);
  for (Requests rest = order; !rest.empty();) {
    const Requests pass = next_pass(rest, frames_per_pass_);
    rest = rest.subspan(pass.size());
    std::vector<std::size_t> indices;
    for (const SynthesisRequest* request : pass) {
      indices.push_back(static_cast<std::size_t>(request - requests.data()));
    }
    Moment begin(device_);
    Mels mels = start_mels(pass, {});
    std::vector<at::Tensor> waves = start_copy_to_host(waveforms(pass, mels.own));
    started.passes_.push_back({std::move(indices), std::move(waves), std::move(begin), std::move(mels.encoded),
                               std::move(mels.decoded), Moment(device_)});
  }
  return started;
}

Synthesis S3Gen::synthesize(std::span<const SynthesisRequest> requests) { return start(requests).wait(); }

void StartedSynthesis::wait_for_mels() const {
  if (!passes_.empty()) {
    passes_.back().decoded.wait();
  }
}

Synthesis StartedSynthesis::wait() {
  Synthesis result{std::vector<std::vector<float>>(num_requests_), {}};
  for (const Pass& pass : passes_) {
    pass.done.wait();
    for (std::size_t i = 0; i < pass.requests.size(); ++i) {
      const auto* const samples = pass.waves[i].const_data_ptr<float>();
      result.waveforms[pass.requests[i]].assign(samples, samples + pass.waves[i].numel());
    }
    result.seconds.encoder += pass.begin.seconds_until(pass.encoded);
    result.seconds.cfm += pass.encoded.seconds_until(pass.decoded);
    result.seconds.vocoder += pass.decoded.seconds_until(pass.done);
  }
  return result;
}

} // namespace audiobookd::engine::chatterbox
