// Loading the cloning models, and the way between std types and tensors.
#include "engine/voice_cloner.h"

#include "engine/device.h"
#include "engine/models/chatterbox/checkpoint_layout.h"
#include "engine/models/chatterbox/clip_features.h"
#include "engine/models/chatterbox/voice_modules.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace audiobookd::engine {
namespace {

using chatterbox::features_sample_rate;
using chatterbox::prompt_sample_rate;

void check(const ReferenceClip& clip, float exaggeration) {
  const auto length_24 = static_cast<std::int64_t>(clip.samples_24khz.size());
  const auto length_16 = static_cast<std::int64_t>(clip.samples_16khz.size());
  const double seconds = static_cast<double>(length_24) / prompt_sample_rate;
  if (seconds < VoiceCloner::min_seconds) {
    throw std::invalid_argument("the clip lasts " + std::to_string(seconds) + " s; a voice needs at least " +
                                std::to_string(VoiceCloner::min_seconds) + " s");
  }
  if (std::abs(length_24 * features_sample_rate - length_16 * prompt_sample_rate) > prompt_sample_rate) {
    throw std::invalid_argument("a clip of " + std::to_string(length_24) + " samples at 24 kHz cannot have " +
                                std::to_string(length_16) + " samples at 16 kHz");
  }
  const auto finite = [](float sample) { return std::isfinite(sample); };
  if (!std::ranges::all_of(clip.samples_24khz, finite) || !std::ranges::all_of(clip.samples_16khz, finite)) {
    throw std::invalid_argument("the clip has samples that are not finite");
  }
  if (!(exaggeration >= 0 && exaggeration <= 2)) {
    throw std::invalid_argument("exaggeration is " + std::to_string(exaggeration) + "; expected a value in [0, 2]");
  }
}

at::Tensor to_device(std::span<const float> samples, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(samples.size())}, at::TensorOptions(at::kFloat));
  std::ranges::copy(samples, tensor.data_ptr<float>());
  return tensor.to(device);
}

template <class T>
std::vector<T> to_vector(const at::Tensor& tensor, at::ScalarType type) {
  const at::Tensor host = tensor.to(at::kCPU, type).contiguous();
  return {host.data_ptr<T>(), host.data_ptr<T>() + host.numel()};
}

} // namespace

class VoiceCloner::Impl {
public:
  Impl(const std::filesystem::path& checkpoint, const std::string& device, int cpu_threads)
      : device_(resolve_device(device)),
        cpu_threads_(cpu_threads > 0 ? cpu_threads
                                     : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))) {
    const StageScope scope(device_, Stage::synthesis, cpu_threads_);
    const c10::InferenceMode inference;
    const auto config = chatterbox::Config::load(checkpoint);
    model_ = config.model_name() + (config.synthetic ? ", synthetic weights: noise" : "");
    if (!config.cloning) {
      throw std::runtime_error((checkpoint / "config.json").string() +
                               ": cloning: this model declares that no voice can be made from a clip");
    }
    const auto s3gen = StateDict::from_safetensors(checkpoint / chatterbox::s3gen_file_name, device_);
    const auto encoder = StateDict::from_safetensors(checkpoint / chatterbox::voice_encoder_file_name, device_);
    modules_ = std::make_unique<chatterbox::VoiceModules>(config.voice, s3gen, encoder);
    s3gen.ignore("flow."); // what renders
    s3gen.ignore("mel2wav.");
    s3gen.verify();
    encoder.verify();
  }

  [[nodiscard]] VoiceConditionals prepare(const ReferenceClip& clip, float exaggeration) const {
    const StageScope scope(device_, Stage::synthesis, cpu_threads_);
    const c10::InferenceMode inference;
    const chatterbox::ClipConditionals found =
        modules_->prepare(to_device(clip.samples_24khz, device_), to_device(clip.samples_16khz, device_));
    return {to_vector<float>(found.speaker_emb, at::kFloat),
            to_vector<std::int32_t>(found.prompt_speech_tokens, at::kInt),
            exaggeration,
            to_vector<std::int32_t>(found.prompt_token, at::kInt),
            to_vector<float>(found.prompt_feat, at::kFloat),
            to_vector<float>(found.embedding, at::kFloat)};
  }

  [[nodiscard]] const std::string& model() const noexcept { return model_; }

private:
  at::Device device_;
  int cpu_threads_;
  std::string model_;
  std::unique_ptr<const chatterbox::VoiceModules> modules_;
};

VoiceCloner::VoiceCloner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VoiceCloner::~VoiceCloner() = default;

std::unique_ptr<VoiceCloner> VoiceCloner::load(const std::filesystem::path& checkpoint, const std::string& device,
                                               int cpu_threads) {
  return std::unique_ptr<VoiceCloner>(new VoiceCloner(std::make_unique<Impl>(checkpoint, device, cpu_threads)));
}

std::string VoiceCloner::model() const { return impl_->model(); }

VoiceConditionals VoiceCloner::prepare(const ReferenceClip& clip, float exaggeration) const {
  check(clip, exaggeration);
  return impl_->prepare(clip, exaggeration);
}

} // namespace audiobookd::engine
