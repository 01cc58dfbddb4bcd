// Euler steps of the guided flow.
#include "engine/models/chatterbox/cfm_decoder.h"

#include <ATen/ATen.h>
#include <numbers>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::chatterbox {

at::Tensor cosine_schedule(int num_steps) {
  if (num_steps < 1) {
    throw std::invalid_argument("flow steps: expected at least 1, found " + std::to_string(num_steps));
  }
  return 1 - at::cos(at::linspace(0, 1, num_steps + 1, at::kFloat) * 0.5 * std::numbers::pi);
}

CfmDecoder::CfmDecoder(const FlowConfig& config, const StateDict& weights)
    : mel_channels_(config.mel_channels),
      speaker_projection_(weights, "spk_embed_affine_layer", config.speaker_embed_dim, config.mel_channels),
      estimator_(config, weights.select("decoder.estimator.")) {}

at::Tensor CfmDecoder::speaker_projection(const at::Tensor& embeddings) const {
  const at::Tensor norms = at::linalg_vector_norm(embeddings, 2, at::IntArrayRef{1}, true).clamp_min(1e-12);
  return speaker_projection_(embeddings / norms);
}

/// The estimator's input for both rows with x still missing: the unconditional row knows no condition.
at::Tensor CfmDecoder::make_input(const FlowConditions& conditions) const {
  const at::Tensor known = at::cat({conditions.mu, conditions.speaker, conditions.prompt_mel}, 1);
  at::Tensor input = at::zeros({2, known.size(0), mel_channels_ + known.size(1)}, known.options());
  input.select(0, 0).narrow(1, mel_channels_, known.size(1)).copy_(known);
  return input;
}

at::Tensor CfmDecoder::guided_pair(const at::Tensor& x, const FlowConditions& conditions, const at::Tensor& time,
                                   const PackedRows& frames, const Probe& probe) const {
  const at::Tensor input = make_input(conditions);
  input.narrow(2, 0, mel_channels_).copy_(x);
  return estimator_.forward(input, estimator_.time_biases(time).select(0, 0), frames, estimator_.mask(frames), probe);
}

at::Tensor CfmDecoder::guide(const at::Tensor& pair) {
  return (pair.select(0, 0) * (1 + flow_guidance)).sub_(pair.select(0, 1), flow_guidance);
}

at::Tensor CfmDecoder::solve(const at::Tensor& noise, const FlowConditions& conditions, const PackedRows& frames,
                             int num_steps, const Probe& probe) const {
  const at::Tensor times = cosine_schedule(num_steps);
  const at::Tensor step_sizes = times.narrow(0, 1, num_steps) - times.narrow(0, 0, num_steps);
  const at::Tensor biases = estimator_.time_biases(times.narrow(0, 0, num_steps).to(noise.device()));
  const at::Tensor mask = estimator_.mask(frames);
  const at::Tensor input = make_input(conditions);
  at::Tensor x = noise.clone();
  for (int step = 0; step < num_steps; ++step) {
    input.narrow(2, 0, mel_channels_).copy_(x);
    const at::Tensor pair = estimator_.forward(input, biases.select(0, step), frames, mask);
    x.add_(guide(pair), step_sizes.data_ptr<float>()[step]);
    if (probe) {
      probe("x_after_step" + std::to_string(step + 1), x);
    }
  }
  return x;
}

} // namespace audiobookd::engine::chatterbox
