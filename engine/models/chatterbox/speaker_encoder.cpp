// CAM++ through ATen.
#include "engine/models/chatterbox/speaker_encoder.h"

#include "engine/models/chatterbox/clip_features.h"
#include "engine/models/chatterbox/layout_builder.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr double norm_epsilon = 1e-5;
constexpr std::int64_t filter_banks = 80;
constexpr std::int64_t segment_frames = 100; // of the context mask, at 50 frames a second
constexpr std::int64_t dilations[] = {1, 2, 2};

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride) {
  const std::int64_t padding = weight.size(2) / 2;
  return at::conv2d(x, weight, {}, {stride, 1}, {padding, padding});
}

} // namespace

BatchNorm::BatchNorm(const StateDict& weights, const std::string& name, std::int64_t channels, bool affine)
    : mean_(weights.get(name + ".running_mean", {channels})),
      variance_(weights.get(name + ".running_var", {channels})) {
  if (affine) {
    weight_ = weights.get(name + ".weight", {channels});
    bias_ = weights.get(name + ".bias", {channels});
  }
  weights.ignore(name + ".num_batches_tracked");
}

at::Tensor BatchNorm::operator()(const at::Tensor& x) const {
  return at::batch_norm(x, weight_, bias_, mean_, variance_, false, 0.0, norm_epsilon, false);
}

ResidualBlock2d::ResidualBlock2d(const StateDict& weights, std::int64_t channels, bool halve)
    : stride_(halve ? 2 : 1), conv1_(weights.get("conv1.weight", {channels, channels, 3, 3})),
      conv2_(weights.get("conv2.weight", {channels, channels, 3, 3})), norm1_(weights, "bn1", channels),
      norm2_(weights, "bn2", channels) {
  if (halve) {
    shortcut_ = weights.get("shortcut.0.weight", {channels, channels, 1, 1});
    shortcut_norm_.emplace(weights, "shortcut.1", channels);
  }
}

at::Tensor ResidualBlock2d::forward(const at::Tensor& x) const {
  const at::Tensor inner = at::relu(norm1_(conv2d(x, conv1_, stride_)));
  const at::Tensor shortcut = shortcut_norm_ ? (*shortcut_norm_)(conv2d(x, shortcut_, stride_)) : x;
  return at::relu(norm2_(conv2d(inner, conv2_, 1)) + shortcut);
}

ContextLayer::ContextLayer(const StateDict& weights, std::int64_t in, const VoiceModulesConfig& config,
                           std::int64_t dilation)
    : dilation_(dilation), norm1_(weights, "nonlinear1.batchnorm", in),
      norm2_(weights, "nonlinear2.batchnorm", config.xvector_bn_size * config.xvector_growth_rate) {
  const std::int64_t growth = config.xvector_growth_rate;
  const std::int64_t inner = config.xvector_bn_size * growth;
  bottleneck_ = weights.get("linear1.weight", {inner, in, 1});
  local_ = weights.get("cam_layer.linear_local.weight", {growth, inner, 3});
  squeeze_ = weights.get("cam_layer.linear1.weight", {inner / 2, inner, 1});
  squeeze_bias_ = weights.get("cam_layer.linear1.bias", {inner / 2});
  expand_ = weights.get("cam_layer.linear2.weight", {growth, inner / 2, 1});
  expand_bias_ = weights.get("cam_layer.linear2.bias", {growth});
}

/// The mask is the same throughout a segment, so it is computed once for each. The last segment averages over the
/// frames that it has. @return [1, growth, frames]
at::Tensor ContextLayer::mask(const at::Tensor& x) const {
  const at::Tensor segments = at::avg_pool1d(x, segment_frames, segment_frames, 0, true);
  const at::Tensor context = x.mean(-1, true) + segments;
  const at::Tensor squeezed = at::relu(at::conv1d(context, squeeze_, squeeze_bias_));
  const at::Tensor gates = at::sigmoid(at::conv1d(squeezed, expand_, expand_bias_));
  return gates.repeat_interleave(segment_frames, -1).narrow(-1, 0, x.size(-1));
}

at::Tensor ContextLayer::forward(const at::Tensor& x) const {
  const at::Tensor inner = at::relu(norm2_(at::conv1d(at::relu(norm1_(x)), bottleneck_)));
  return at::conv1d(inner, local_, {}, 1, dilation_, dilation_) * mask(inner);
}

SpeakerEncoder::SpeakerEncoder(const VoiceModulesConfig& config, const StateDict& weights)
    : head_conv1_(weights.get("head.conv1.weight", {config.xvector_fcm_channels, 1, 3, 3})),
      head_conv2_(weights.get("head.conv2.weight", {config.xvector_fcm_channels, config.xvector_fcm_channels, 3, 3})),
      head_norm1_(weights, "head.bn1", config.xvector_fcm_channels),
      head_norm2_(weights, "head.bn2", config.xvector_fcm_channels),
      tdnn_(weights.get("xvector.tdnn.linear.weight",
                        {config.xvector_init_channels, config.xvector_fcm_channels * (filter_banks / 8), 5})),
      tdnn_norm_(weights, "xvector.tdnn.nonlinear.batchnorm", config.xvector_init_channels),
      dense_norm_(weights, "xvector.dense.nonlinear.batchnorm", config.xvector_embedding_size, false) {
  for (const char* layer : {"head.layer1", "head.layer2"}) {
    for (std::size_t i = 0; i < 2; ++i) {
      head_blocks_.emplace_back(weights.select(item(layer, i) + "."), config.xvector_fcm_channels, i == 0);
    }
  }
  std::int64_t channels = config.xvector_init_channels;
  for (std::size_t i = 0; i < config.xvector_blocks.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    std::vector<ContextLayer> layers;
    for (int layer = 1; layer <= config.xvector_blocks[i]; ++layer) {
      const std::string name = "xvector.block" + number + ".tdnnd" + std::to_string(layer) + ".";
      layers.emplace_back(weights.select(name), channels, config, dilations[i]);
      channels += config.xvector_growth_rate;
    }
    blocks_.push_back({std::move(layers),
                       BatchNorm(weights, "xvector.transit" + number + ".nonlinear.batchnorm", channels),
                       weights.get("xvector.transit" + number + ".linear.weight", {channels / 2, channels, 1})});
    channels /= 2;
  }
  out_norm_.emplace(weights, "xvector.out_nonlinear.batchnorm", channels);
  dense_ = weights.get("xvector.dense.linear.weight", {config.xvector_embedding_size, 2 * channels, 1});
}

at::Tensor SpeakerEncoder::embed(const at::Tensor& samples) const {
  const at::Tensor banks = kaldi_filter_banks(samples);
  return forward(banks - banks.mean(0, true));
}

/// Three halvings of the 80 bands. @return [1, 10 fcm_channels, frames]
at::Tensor SpeakerEncoder::head(const at::Tensor& banks) const {
  at::Tensor x = at::relu(head_norm1_(conv2d(banks.t().unsqueeze(0).unsqueeze(0), head_conv1_, 1)));
  for (const ResidualBlock2d& block : head_blocks_) {
    x = block.forward(x);
  }
  return at::relu(head_norm2_(conv2d(x, head_conv2_, 2))).flatten(1, 2);
}

at::Tensor SpeakerEncoder::forward(const at::Tensor& banks, const Probe& probe) const {
  at::Tensor x = head(banks);
  show(probe, "head", x);
  x = at::relu(tdnn_norm_(at::conv1d(x, tdnn_, {}, 2, 2)));
  show(probe, "tdnn", x);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    for (const ContextLayer& layer : blocks_[i].layers) {
      x = at::cat({x, layer.forward(x)}, 1);
    }
    show(probe, "block" + std::to_string(i + 1), x);
    x = at::conv1d(at::relu(blocks_[i].norm(x)), blocks_[i].transition);
  }
  x = at::relu((*out_norm_)(x));
  const at::Tensor statistics = at::cat({x.mean(-1), x.std(-1, /*unbiased=*/true)}, 1); // [1, 2 channels]
  return dense_norm_(at::conv1d(statistics.unsqueeze(-1), dense_).squeeze(-1)).squeeze(0);
}

} // namespace audiobookd::engine::chatterbox
