// Flow estimator: channels last throughout, so that convolutions and attention share one layout.
#include "engine/models/chatterbox/flow_estimator.h"

#include <ATen/ATen.h>
#include <cmath>
#include <string>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr double norm_epsilon = 1e-5;
constexpr double time_scale = 1000;
constexpr std::int64_t feed_forward_factor = 4;
constexpr std::int64_t time_factor = 4;

/// The checkpoint's names of the stages, in the order in which they run.
std::vector<std::string> stage_names(const FlowConfig& config) {
  std::vector<std::string> names{"down_blocks.0."};
  for (int i = 0; i < config.estimator_mid_stages; ++i) {
    names.push_back("mid_blocks." + std::to_string(i) + ".");
  }
  names.emplace_back("up_blocks.0.");
  return names;
}

} // namespace

at::Tensor time_sinusoids(const at::Tensor& times, std::int64_t channels) {
  const std::int64_t half = channels / 2;
  const double spacing = std::log(10000.0) / static_cast<double>(half - 1);
  const at::Tensor frequencies = at::exp(at::arange(half, times.options()) * -spacing);
  const at::Tensor angles = (times * time_scale).unsqueeze(1) * frequencies;
  return at::cat({at::sin(angles), at::cos(angles)}, 1);
}

FlowEstimator::ConvBlock::ConvBlock(const StateDict& weights, const std::string& name, std::int64_t in,
                                    std::int64_t out)
    : conv(weights, name + ".block.0", in, out, 3, -2), norm(weights, name + ".block.2", out, norm_epsilon) {}

at::Tensor FlowEstimator::ConvBlock::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  return at::mish(norm(conv(x, mask)));
}

FlowEstimator::ResidualBlock::ResidualBlock(const StateDict& weights, std::int64_t in, std::int64_t out)
    : first(weights, "block1", in, out), second(weights, "block2", out, out),
      shortcut_weight(weights.get("res_conv.weight", {out, in, 1}).squeeze(2)),
      shortcut_bias(weights.get("res_conv.bias", {out})) {}

at::Tensor FlowEstimator::ResidualBlock::operator()(const at::Tensor& x, const at::Tensor& time_bias,
                                                    const at::Tensor& mask) const {
  const at::Tensor timed = first(x, mask).add_(time_bias);
  return second(timed, mask).add_(at::linear(x, shortcut_weight, shortcut_bias));
}

FlowEstimator::TransformerBlock::TransformerBlock(const StateDict& weights, std::int64_t channels,
                                                  std::int64_t num_heads, std::int64_t head_dim)
    : num_heads(num_heads), head_dim(head_dim), attention_norm(weights, "norm1", channels, norm_epsilon),
      out(weights, "attn1.to_out.0", num_heads * head_dim, channels),
      feed_forward_norm(weights, "norm3", channels, norm_epsilon),
      widen(weights, "ff.net.0.proj", channels, feed_forward_factor * channels),
      narrow(weights, "ff.net.2", feed_forward_factor * channels, channels) {
  const auto projection = [&](const char* name) {
    return weights.get(std::string("attn1.") + name + ".weight", {num_heads * head_dim, channels});
  };
  qkv_weight = at::cat({projection("to_q"), projection("to_k"), projection("to_v")});
}

/// Every utterance attends to itself; the batch entries of one utterance go together, so no mask is needed.
at::Tensor FlowEstimator::TransformerBlock::attend(const at::Tensor& x, const PackedRows& frames) const {
  const std::int64_t batch = x.size(0);
  const at::Tensor qkv = at::linear(x, qkv_weight).view({batch, frames.total(), 3, num_heads, head_dim});
  at::Tensor attended = at::empty({batch, frames.total(), num_heads, head_dim}, x.options());
  for (std::int64_t i = 0; i < frames.count(); ++i) {
    const auto own = qkv.narrow(1, frames.start(i), frames.length(i)).transpose(1, 3); // [batch, heads, 3, length, dim]
    attended.narrow(1, frames.start(i), frames.length(i))
        .copy_(at::scaled_dot_product_attention(own.select(2, 0), own.select(2, 1), own.select(2, 2)).transpose(1, 2));
  }
  return attended.view({batch, frames.total(), num_heads * head_dim});
}

at::Tensor FlowEstimator::TransformerBlock::operator()(const at::Tensor& x, const PackedRows& frames) const {
  const at::Tensor attended = out(attend(attention_norm(x), frames)).add_(x);
  return narrow(at::gelu(widen(feed_forward_norm(attended)))).add_(attended);
}

FlowEstimator::Stage::Stage(const FlowConfig& config, const StateDict& weights, std::int64_t in, bool ends_in_conv)
    : residual(weights.select("0."), in, config.estimator_channels) {
  for (int i = 0; i < config.estimator_blocks_per_stage; ++i) {
    transformers.emplace_back(weights.select("1." + std::to_string(i) + "."), config.estimator_channels,
                              config.estimator_heads, config.estimator_head_dim);
  }
  if (ends_in_conv) {
    conv.emplace(weights, "2", config.estimator_channels, config.estimator_channels, 3, -2);
  }
}

std::vector<FlowEstimator::Stage> FlowEstimator::make_stages(const FlowConfig& config, const StateDict& weights) {
  const std::int64_t channels = config.estimator_channels;
  std::vector<Stage> stages;
  for (const std::string& name : stage_names(config)) {
    const bool down = name.starts_with("down");
    const bool up = name.starts_with("up");
    const std::int64_t in = down ? config.estimator_in_channels : up ? 2 * channels : channels;
    stages.emplace_back(config, weights.select(name), in, down || up);
  }
  return stages;
}

void FlowEstimator::stack_time_layers(const FlowConfig& config, const StateDict& weights) {
  std::vector<at::Tensor> stage_weights;
  std::vector<at::Tensor> stage_biases;
  for (const std::string& name : stage_names(config)) {
    const Linear layer(weights, name + "0.mlp.1", time_factor * config.estimator_channels, config.estimator_channels);
    stage_weights.push_back(layer.weight);
    stage_biases.push_back(layer.bias);
  }
  time_stage_weight_ = at::cat(stage_weights);
  time_stage_bias_ = at::cat(stage_biases);
}

FlowEstimator::FlowEstimator(const FlowConfig& config, const StateDict& weights)
    : in_channels_(config.estimator_in_channels),
      time_widen_(weights, "time_mlp.linear_1", in_channels_, time_factor * config.estimator_channels),
      time_out_(weights, "time_mlp.linear_2", time_factor * config.estimator_channels,
                time_factor * config.estimator_channels),
      stages_(make_stages(config, weights)),
      final_block_(weights, "final_block", config.estimator_channels, config.estimator_channels),
      final_weight_(weights.get("final_proj.weight", {config.mel_channels, config.estimator_channels, 1}).squeeze(2)),
      final_bias_(weights.get("final_proj.bias", {config.mel_channels})) {
  stack_time_layers(config, weights);
}

at::Tensor FlowEstimator::time_embedding(const at::Tensor& times) const {
  return time_out_(at::silu(time_widen_(time_sinusoids(times, in_channels_))));
}

at::Tensor FlowEstimator::time_biases(const at::Tensor& times) const {
  const at::Tensor biases = at::linear(at::mish(time_embedding(times)), time_stage_weight_, time_stage_bias_);
  return biases.view({times.size(0), static_cast<std::int64_t>(stages_.size()), -1});
}

at::Tensor FlowEstimator::run(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                              const PackedRows& frames, const at::Tensor& mask, const Probe& probe) {
  at::Tensor hidden = stage.residual(x, time_bias, mask);
  show(probe, "down_resnet", hidden);
  for (const TransformerBlock& block : stage.transformers) {
    hidden = block(hidden, frames);
  }
  return hidden;
}

at::Tensor FlowEstimator::forward(const at::Tensor& input, const at::Tensor& time_bias, const PackedRows& frames,
                                  const at::Tensor& mask, const Probe& probe) const {
  const std::size_t last = stages_.size() - 1;
  const auto bias = [&](std::size_t stage) { return time_bias.select(0, static_cast<std::int64_t>(stage)); };
  const at::Tensor skip = run(stages_.front(), input, bias(0), frames, mask, probe);
  show(probe, "down_attn", skip);
  at::Tensor x = (*stages_.front().conv)(skip, mask);
  show(probe, "down_conv", x);
  for (std::size_t stage = 1; stage < last; ++stage) {
    x = run(stages_[stage], x, bias(stage), frames, mask);
  }
  show(probe, "mid_out", x);
  x = run(stages_[last], at::cat({x, skip}, 2), bias(last), frames, mask);
  x = (*stages_[last].conv)(x, mask);
  show(probe, "up_conv", x);
  x = final_block_(x, mask);
  show(probe, "final_block", x);
  return at::linear(x, final_weight_, final_bias_);
}

} // namespace audiobookd::engine::chatterbox
