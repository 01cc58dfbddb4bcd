// Flow encoder: token rate, look-ahead, upsampling, frame rate. Threading as in the header.
#include "engine/models/chatterbox/flow_encoder.h"

#include <ATen/ATen.h>
#include <cmath>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr double norm_epsilon = 1e-5;

std::vector<ConformerBlock> make_blocks(const FlowConfig& config, const StateDict& weights, const char* name,
                                        int count) {
  std::vector<ConformerBlock> blocks;
  for (int i = 0; i < count; ++i) {
    blocks.emplace_back(weights.select(std::string(name) + "." + std::to_string(i) + "."), config.encoder_size,
                        config.encoder_heads, config.encoder_linear_units);
  }
  return blocks;
}

at::Tensor convolve(const WindowConv& conv, const at::Tensor& x, const PackedRows& rows) {
  return conv(x.unsqueeze(0), conv.mask(rows)).squeeze(0);
}

} // namespace

FlowEncoder::InputLayer::InputLayer(const StateDict& weights, const std::string& name, std::int64_t size)
    : linear(weights, name + ".out.0", size, size), norm(weights, name + ".out.1", size, norm_epsilon) {}

at::Tensor FlowEncoder::InputLayer::operator()(const at::Tensor& x) const {
  return norm(linear(x)).mul_(std::sqrt(static_cast<double>(norm.weight.size(0))));
}

FlowEncoder::FlowEncoder(const FlowConfig& config, const StateDict& weights)
    : embedding_(weights.get("input_embedding.weight", {config.speech_vocab_size, config.encoder_size})),
      embed_(weights, "encoder.embed", config.encoder_size),
      lookahead_conv_(weights, "encoder.pre_lookahead_layer.conv1", config.encoder_size, config.encoder_size,
                      config.encoder_pre_lookahead + 1, 0),
      lookahead_smooth_(weights, "encoder.pre_lookahead_layer.conv2", config.encoder_size, config.encoder_size, 3, -2),
      blocks_(make_blocks(config, weights, "encoder.encoders", config.encoder_blocks)),
      up_conv_(weights, "encoder.up_layer.conv", config.encoder_size, config.encoder_size, 2 * frames_per_token + 1,
               -2 * frames_per_token),
      up_embed_(weights, "encoder.up_embed", config.encoder_size),
      up_blocks_(make_blocks(config, weights, "encoder.up_encoders", config.encoder_up_blocks)),
      after_norm_(weights, "encoder.after_norm", config.encoder_size, norm_epsilon),
      projection_(weights, "encoder_proj", config.encoder_size, config.mel_channels) {}

at::Tensor FlowEncoder::look_ahead(const at::Tensor& x, const PackedRows& rows) const {
  const at::Tensor ahead = at::leaky_relu(convolve(lookahead_conv_, x, rows), leaky_slope);
  return x + convolve(lookahead_smooth_, ahead, rows);
}

at::Tensor FlowEncoder::upsample(const at::Tensor& x, const PackedRows& frames) const {
  const at::Tensor repeated =
      x.unsqueeze(1).expand({x.size(0), frames_per_token, x.size(1)}).reshape({frames.total(), x.size(1)});
  return convolve(up_conv_, repeated, frames);
}

at::Tensor FlowEncoder::forward(const at::Tensor& tokens, const PackedRows& rows, const Probe& probe) {
  at::Tensor x = embed_(at::embedding(embedding_, tokens));
  show(probe, "embed", x);
  x = look_ahead(x, rows);
  show(probe, "lookahead", x);
  for (ConformerBlock& block : blocks_) {
    x = block.forward(x, rows);
  }
  show(probe, "low_rate", x);
  const PackedRows frames = rows.stretched(frames_per_token);
  x = upsample(x, frames);
  show(probe, "upsampled", x);
  x = up_embed_(x);
  for (ConformerBlock& block : up_blocks_) {
    x = block.forward(x, frames);
  }
  x = after_norm_(x);
  show(probe, "encoder_out", x);
  return projection_(x);
}

} // namespace audiobookd::engine::chatterbox
