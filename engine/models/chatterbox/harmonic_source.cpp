// Harmonic source: phase, voicing, noise, and their merging into one signal.
#include "engine/models/chatterbox/harmonic_source.h"

#include "engine/models/chatterbox/hift_constants.h"

#include <ATen/ATen.h>
#include <numbers>

namespace audiobookd::engine::chatterbox {
namespace {

/// [frames] to [frames * times]
at::Tensor repeat(const at::Tensor& per_frame, std::int64_t times) {
  return per_frame.unsqueeze(1).expand({per_frame.size(0), times}).reshape({-1});
}

} // namespace

HarmonicSource::HarmonicSource(const HiftConfig& config, const StateDict& weights, std::int64_t samples_per_frame)
    : num_harmonics_(config.harmonics + 1), samples_per_frame_(samples_per_frame),
      merge_(weights, "l_linear", num_harmonics_, 1) {}

/// Phase of every harmonic without its initial one, [num_harmonics, samples]. The increments of each harmonic are
/// summed in double and every partial sum is rounded to fp32: a sum in fp32 drifts audibly within a second.
at::Tensor HarmonicSource::angles(const at::Tensor& f0) const {
  const at::Tensor harmonics = at::arange(1, num_harmonics_ + 1, f0.options()).unsqueeze(1);
  // Divided by a tensor: CUDA divides by a number by multiplying with its reciprocal, and the last bit adds up.
  const at::Tensor cycles_per_sample = f0 * harmonics / at::full({1}, hift::sample_rate, f0.options());
  const at::Tensor increments = cycles_per_sample.unsqueeze(2)
                                    .expand({num_harmonics_, f0.size(0), samples_per_frame_})
                                    .reshape({num_harmonics_, -1});
  return at::cumsum(increments, 1, at::kDouble).to(at::kFloat).frac_().mul_(2 * std::numbers::pi);
}

at::Tensor HarmonicSource::operator()(const at::Tensor& f0, const at::Tensor& phase, const at::Tensor& noise) const {
  at::Tensor initial = phase.clone();
  initial[0] = 0;
  const at::Tensor voiced = f0.gt(hift::voiced_threshold_hz).to(at::kFloat);
  const at::Tensor noise_level = voiced * hift::voiced_noise + (1 - voiced) * hift::unvoiced_noise;
  at::Tensor waves = angles(f0).add_(initial.unsqueeze(1)).sin_().mul_(hift::sine_amplitude);
  waves.mul_(repeat(voiced, samples_per_frame_)).addcmul_(repeat(noise_level, samples_per_frame_), noise);
  return at::matmul(merge_.weight, waves).squeeze(0).add_(merge_.bias).tanh_();
}

} // namespace audiobookd::engine::chatterbox
