// HiFT vocoder: loading, F0, stages, and the way back to samples.
#include "engine/models/chatterbox/hift.h"

#include "engine/models/chatterbox/hift_constants.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr int num_f0_convs = 5;

/// Frames of the source's spectrum, and of the result's, per mel frame; one more at the end.
std::int64_t spectrum_rate(const HiftConfig& config) {
  return std::accumulate(config.upsample_rates.begin(), config.upsample_rates.end(), std::int64_t{1},
                         std::multiplies<>());
}

ConvShape same_length(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t dilation = 1) {
  return {in, out, kernel, 1, (kernel - 1) * dilation / 2, dilation};
}

std::vector<MaskedConv1d> make_f0_convs(const HiftConfig& config, std::int64_t mel_channels, const StateDict& weights) {
  std::vector<MaskedConv1d> convs;
  for (int i = 0; i < num_f0_convs; ++i) {
    // Every second entry of the checkpoint's list is an activation.
    convs.push_back(MaskedConv1d(weights, "f0_predictor.condnet." + std::to_string(2 * i),
                                 same_length(i == 0 ? mel_channels : config.f0_channels, config.f0_channels, 3),
                                 WeightForm::weight_normalised)
                        .to(at::kDouble));
  }
  return convs;
}

std::vector<std::int64_t> scaled(std::span<const std::int64_t> lengths, std::int64_t factor, std::int64_t extra) {
  std::vector<std::int64_t> result;
  for (const std::int64_t length : lengths) {
    result.push_back(length * factor + extra);
  }
  return result;
}

/// [channels, length] tensors as one [batch, channels, longest], zero in the padding.
at::Tensor pad_together(std::span<const at::Tensor> sequences) {
  if (sequences.size() == 1) {
    return sequences[0].unsqueeze(0);
  }
  std::int64_t longest = 0;
  for (const at::Tensor& sequence : sequences) {
    longest = std::max(longest, sequence.size(1));
  }
  at::Tensor padded =
      at::zeros({static_cast<std::int64_t>(sequences.size()), sequences[0].size(0), longest}, sequences[0].options());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    padded.select(0, static_cast<std::int64_t>(i)).narrow(1, 0, sequences[i].size(1)).copy_(sequences[i]);
  }
  return padded;
}

} // namespace

Hift::ResidualBlock::Snake::Snake(const StateDict& weights, const std::string& name, std::int64_t channels)
    : alpha(weights.get(name + ".alpha", {channels}).unsqueeze(1)), inverse(1 / (alpha + 1e-9)) {}

at::Tensor Hift::ResidualBlock::Snake::operator()(const at::Tensor& x) const {
  at::Tensor sine = (x * alpha).sin_();
  return sine.square_().mul_(inverse).add_(x);
}

Hift::ResidualBlock::ResidualBlock(const StateDict& weights, std::int64_t channels, std::int64_t kernel,
                                   std::span<const int> dilations) {
  for (std::size_t i = 0; i < dilations.size(); ++i) {
    const std::string index = std::to_string(i);
    layers.push_back({Snake(weights, "activations1." + index, channels),
                      MaskedConv1d(weights, "convs1." + index, same_length(channels, channels, kernel, dilations[i]),
                                   WeightForm::weight_normalised),
                      Snake(weights, "activations2." + index, channels),
                      MaskedConv1d(weights, "convs2." + index, same_length(channels, channels, kernel),
                                   WeightForm::weight_normalised)});
  }
}

at::Tensor Hift::ResidualBlock::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  at::Tensor sum = x;
  for (const Layer& layer : layers) {
    sum = layer.plain(layer.snake2(layer.dilated(layer.snake1(sum), mask)), mask).add_(sum);
  }
  return sum;
}

Hift::Hift(const HiftConfig& config, std::int64_t mel_channels, const StateDict& weights)
    : samples_per_frame_(spectrum_rate(config) * config.istft_hop),
      f0_convs_(make_f0_convs(config, mel_channels, weights)),
      f0_out_(weights, "f0_predictor.classifier", config.f0_channels, 1),
      source_(config, weights.select("m_source."), samples_per_frame_),
      fourier_(config.istft_n_fft, config.istft_hop, f0_out_.weight.device()),
      conv_pre_(weights, "conv_pre", same_length(mel_channels, config.base_channels, 7), WeightForm::weight_normalised),
      conv_post_(weights, "conv_post",
                 same_length(config.base_channels >> config.upsample_rates.size(), config.istft_n_fft + 2, 7),
                 WeightForm::weight_normalised) {
  f0_out_.weight = f0_out_.weight.to(at::kDouble);
  f0_out_.bias = f0_out_.bias.to(at::kDouble);
  add_stages(config, weights);
}

void Hift::add_stages(const HiftConfig& config, const StateDict& weights) {
  std::int64_t rate = 1;
  for (std::size_t i = 0; i < config.upsample_rates.size(); ++i) {
    const std::string index = std::to_string(i);
    const std::int64_t channels = config.base_channels >> (i + 1);
    const std::int64_t kernel = config.upsample_kernels[i];
    const std::int64_t stride = config.upsample_rates[i];
    rate *= stride;
    const std::int64_t down = spectrum_rate(config) / rate;
    const ConvShape down_shape = down == 1 ? ConvShape{config.istft_n_fft + 2, channels}
                                           : ConvShape{config.istft_n_fft + 2, channels, 2 * down, down, down / 2};
    std::vector<ResidualBlock> residuals;
    for (std::size_t j = 0; j < config.resblock_kernels.size(); ++j) {
      const std::string block = std::to_string(i * config.resblock_kernels.size() + j);
      residuals.emplace_back(weights.select("resblocks." + block + "."), channels, config.resblock_kernels[j],
                             config.resblock_dilations);
    }
    stages_.push_back(
        {rate,
         MaskedConvTranspose1d(weights, "ups." + index, {2 * channels, channels, kernel, stride, (kernel - stride) / 2},
                               WeightForm::weight_normalised),
         MaskedConv1d(weights, "source_downs." + index, down_shape, WeightForm::plain),
         ResidualBlock(weights.select("source_resblocks." + index + "."), channels, config.source_resblock_kernels[i],
                       config.resblock_dilations),
         std::move(residuals)});
  }
}

at::Tensor Hift::predict_f0(const at::Tensor& mel, std::span<const std::int64_t> lengths) const {
  const at::Tensor mask = length_mask(lengths, mel.device());
  at::Tensor x = mel.to(at::kDouble);
  for (const MaskedConv1d& conv : f0_convs_) {
    x = conv(x, mask);
    at::elu_(x);
  }
  return f0_out_(x.transpose(1, 2)).squeeze(2).abs_().to(at::kFloat);
}

at::Tensor Hift::run(std::size_t stage_index, const at::Tensor& x, const at::Tensor& source_spectrum,
                     std::span<const std::int64_t> lengths, const Probe& probe) const {
  const Stage& stage = stages_[stage_index];
  const std::string index = std::to_string(stage_index);
  // The last stage has one frame more than its rate says: a reflection of the second one in front, to which the
  // inverse transform's frames then belong.
  const bool last = stage_index + 1 == stages_.size();
  at::Tensor up =
      stage.up(at::leaky_relu(x, hift::stage_leaky_slope), length_mask(scaled(lengths, stage.rate, 0), x.device()));
  show(probe, "up" + index, up);
  if (last) {
    up = at::reflection_pad1d(up, {1, 0});
  }
  const at::Tensor mask = length_mask(scaled(lengths, stage.rate, last ? 1 : 0), x.device());
  at::Tensor source = stage.source_down(source_spectrum, mask);
  show(probe, "source_down" + index, source);
  source = stage.source_residual(source, mask);
  show(probe, "source_res" + index, source);
  up.add_(source);
  at::Tensor sum = stage.residuals.front()(up, mask);
  show(probe, "res" + std::to_string(stage_index * stage.residuals.size()), sum);
  for (std::size_t j = 1; j < stage.residuals.size(); ++j) {
    sum.add_(stage.residuals[j](up, mask));
  }
  return sum.div_(static_cast<double>(stage.residuals.size()));
}

/// @param spectrum [n_fft + 2, frames], log magnitudes and phases before their sine. @return [(frames - 1) * hop]
at::Tensor Hift::to_samples(const at::Tensor& spectrum, const Probe& probe) const {
  const std::int64_t bins = spectrum.size(0) / 2;
  at::Tensor magnitude = spectrum.narrow(0, 0, bins).exp();
  show(probe, "magnitude", magnitude);
  const at::Tensor phase = spectrum.narrow(0, bins, bins).sin();
  show(probe, "spec_phase", phase);
  magnitude.clamp_max_(hift::largest_magnitude);
  return fourier_.synthesise(magnitude * phase.cos(), magnitude * phase.sin())
      .clamp_(-hift::audio_limit, hift::audio_limit);
}

std::vector<at::Tensor> Hift::decode(const at::Tensor& mel, std::span<const std::int64_t> lengths,
                                     std::span<const at::Tensor> sources, const Probe& probe) const {
  std::vector<at::Tensor> spectra;
  for (const at::Tensor& source : sources) {
    spectra.push_back(fourier_.analyse(source));
  }
  const at::Tensor source_spectrum = pad_together(spectra);
  show(probe, "source_stft", source_spectrum);
  at::Tensor x = conv_pre_(mel, length_mask(lengths, mel.device()));
  show(probe, "conv_pre", x);
  for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
    x = run(stage, x, source_spectrum, lengths, probe);
  }
  const std::vector<std::int64_t> frames = scaled(lengths, stages_.back().rate, 1);
  x = conv_post_(at::leaky_relu_(x, hift::last_leaky_slope), length_mask(frames, mel.device()));
  show(probe, "conv_post", x);
  std::vector<at::Tensor> samples;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    samples.push_back(to_samples(x.select(0, static_cast<std::int64_t>(i)).narrow(1, 0, frames[i]), probe));
  }
  return samples;
}

std::vector<at::Tensor> Hift::render(std::span<const VocoderInput> inputs, const Probe& probe) const {
  std::vector<at::Tensor> mels;
  std::vector<std::int64_t> lengths;
  for (const VocoderInput& input : inputs) {
    mels.push_back(input.mel);
    lengths.push_back(input.mel.size(1));
  }
  const at::Tensor mel = pad_together(mels);
  const at::Tensor f0 = predict_f0(mel, lengths);
  std::vector<at::Tensor> sources;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor own_f0 = f0.select(0, static_cast<std::int64_t>(i)).narrow(0, 0, lengths[i]);
    show(probe, "f0", own_f0);
    sources.push_back(source_(own_f0, inputs[i].phase, inputs[i].noise));
    show(probe, "source", sources.back());
  }
  return decode(mel, lengths, sources, probe);
}

} // namespace audiobookd::engine::chatterbox
