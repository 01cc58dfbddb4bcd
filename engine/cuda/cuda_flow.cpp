#include "engine/cuda/cuda_flow.h"

#include "engine/cuda/device_pointers.h"
#include "engine/device.h"

#include <ATen/ATen.h>
#include <c10/util/StringUtil.h>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::cuda {
namespace {

using chatterbox::FlowConditions;
using chatterbox::FlowEstimator;

constexpr std::int64_t taps = 3;

/// [out, in] fp32 to an [in, out] view of bf16.
at::Tensor half_transposed(const at::Tensor& weight) { return weight.to(at::kBFloat16).t(); }

at::Tensor windows(const at::Tensor& x, const GuidedRows& rows) {
  at::Tensor out = at::empty({x.size(0), taps * x.size(1)}, x.options());
  causal_windows(bf16(x), int32(rows.positions), bf16_out(out), x.size(0), static_cast<int>(x.size(1)), stream());
  return out;
}

} // namespace

NormWeights CudaFlow::Norm::pointers() const { return {fp32(weight), fp32(bias)}; }

CudaFlow::ConvBlock CudaFlow::convert(const FlowEstimator::ConvBlock& block) {
  return {half_transposed(block.conv.weight()), block.conv.bias(), {block.norm.weight, block.norm.bias}};
}

CudaFlow::TransformerBlock CudaFlow::convert(const FlowEstimator::TransformerBlock& block) {
  return {{block.attention_norm.weight, block.attention_norm.bias},
          {block.feed_forward_norm.weight, block.feed_forward_norm.bias},
          half_transposed(with_scaled_queries(block.qkv_weight, block.head_dim)),
          half_transposed(block.out.weight),
          half_transposed(block.widen.weight),
          half_transposed(block.narrow.weight),
          block.out.bias,
          block.widen.bias,
          block.narrow.bias};
}

CudaFlow::Stage CudaFlow::convert(const FlowEstimator::Stage& stage) {
  Stage half{convert(stage.residual.first),
             convert(stage.residual.second),
             half_transposed(stage.residual.shortcut_weight),
             stage.residual.shortcut_bias,
             {},
             {},
             {}};
  for (const FlowEstimator::TransformerBlock& block : stage.transformers) {
    half.transformers.push_back(convert(block));
  }
  if (stage.conv) {
    half.conv = half_transposed(stage.conv->weight());
    half.conv_bias = stage.conv->bias().to(at::kBFloat16);
  }
  return half;
}

CudaFlow::CudaFlow(const chatterbox::CfmDecoder& reference, FlowKernels kernels)
    : reference_(reference), channels_(reference.estimator().final_weight().size(1)),
      mel_channels_(reference.estimator().final_weight().size(0)),
      num_heads_(reference.estimator().stages().front().transformers.front().num_heads) {
  const FlowEstimator& estimator = reference.estimator();
  if (kernels != FlowKernels::general && FusedFlow::suits(estimator)) {
    fused_.emplace(estimator, kernels == FlowKernels::fp8);
    return;
  }
  if (kernels == FlowKernels::fp8) {
    throw std::invalid_argument("cfm_fp8 needs a GPU with Hopper's instructions (compute capability 9.0) and a flow of "
                                "the published width");
  }
  const std::int64_t head_dim = estimator.stages().front().transformers.front().head_dim;
  if (channels_ % 8 != 0 || channels_ > max_channels || head_dim % 8 != 0 || estimator.in_channels() % 8 != 0) {
    throw std::invalid_argument(c10::str("the bf16 flow needs channels in multiples of 8, at most ", max_channels,
                                         ", and heads in multiples of 8; found ", channels_, " channels, heads of ",
                                         head_dim, ", ", estimator.in_channels(), " input channels"));
  }
  for (const FlowEstimator::Stage& stage : estimator.stages()) {
    stages_.push_back(convert(stage));
  }
  final_block_ = convert(estimator.final_block());
  final_weight_ = half_transposed(estimator.final_weight());
}

/// Both halves with x still missing: the unconditional one knows no condition. @return bf16 [2 * frames, in_channels]
at::Tensor CudaFlow::make_input(const FlowConditions& conditions) const {
  const at::Tensor known = at::cat({conditions.mu, conditions.speaker, conditions.prompt_mel}, 1);
  at::Tensor input =
      at::zeros({2 * known.size(0), reference_.estimator().in_channels()}, known.options().dtype(at::kBFloat16));
  input.narrow(0, 0, known.size(0)).narrow(1, mel_channels_, known.size(1)).copy_(known);
  return input;
}

/// @param x bf16 [rows, in]. @return the residual stream, fp32 [rows, channels]
at::Tensor CudaFlow::residual_block(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                                    const GuidedRows& rows) const {
  const int channels = static_cast<int>(channels_);
  at::Tensor y = at::mm(windows(x, rows), stage.first.weight);
  norm_mish(bf16(y), fp32(stage.first.bias), stage.first.norm.pointers(), fp32(time_bias), bf16_out(y), rows.total(),
            channels, stream());
  y = at::mm(windows(y, rows), stage.second.weight);
  const at::Tensor shortcut = at::mm(x, stage.shortcut);
  at::Tensor residual = at::empty(y.sizes(), y.options().dtype(at::kFloat));
  norm_mish_shortcut(bf16(y), fp32(stage.second.bias), stage.second.norm.pointers(), bf16(shortcut),
                     fp32(stage.shortcut_bias), residual.data_ptr<float>(), rows.total(), channels, stream());
  return residual;
}

/// @param x bf16 [rows, in]. @return bf16 [rows, channels]
at::Tensor CudaFlow::run(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                         const GuidedRows& rows) const {
  const int channels = static_cast<int>(channels_);
  at::Tensor residual = residual_block(stage, x, time_bias, rows);
  at::Tensor normed = at::empty(residual.sizes(), x.options());
  at::Tensor delta;
  const float* delta_bias = nullptr;
  const auto add_and_norm = [&](const Norm& norm) {
    add_layer_norm(residual.data_ptr<float>(), delta.defined() ? bf16(delta) : nullptr, delta_bias, norm.pointers(),
                   bf16_out(normed), rows.total(), channels, stream());
  };
  for (const TransformerBlock& block : stage.transformers) {
    add_and_norm(block.attention_norm);
    delta = at::mm(attend(at::mm(normed, block.qkv), rows, num_heads_), block.out);
    delta_bias = fp32(block.out_bias);
    add_and_norm(block.feed_forward_norm);
    at::Tensor wide = at::mm(normed, block.widen);
    add_bias_gelu(bf16_out(wide), fp32(block.widen_bias), rows.total(), static_cast<int>(wide.size(1)), stream());
    delta = at::mm(wide, block.narrow);
    delta_bias = fp32(block.narrow_bias);
  }
  add_and_round(residual.const_data_ptr<float>(), bf16(delta), delta_bias, bf16_out(normed), rows.total(), channels,
                stream());
  return normed;
}

/// @param input bf16 [rows, in_channels]. @param time_bias fp32 [stages, channels].
/// @return fp32 [rows, mel_channels], the last layer's bias still missing
at::Tensor CudaFlow::estimate(const at::Tensor& input, const at::Tensor& time_bias, const GuidedRows& rows) const {
  if (fused_) {
    return fused_->estimate(input, time_bias, rows);
  }
  const auto bias = [&](std::size_t stage) { return time_bias.select(0, static_cast<std::int64_t>(stage)); };
  const std::size_t last = stages_.size() - 1;
  const at::Tensor skip = run(stages_.front(), input, bias(0), rows);
  at::Tensor x = at::addmm(stages_.front().conv_bias, windows(skip, rows), stages_.front().conv);
  for (std::size_t stage = 1; stage < last; ++stage) {
    x = run(stages_[stage], x, bias(stage), rows);
  }
  x = run(stages_[last], at::cat({x, skip}, 1), bias(last), rows);
  x = at::addmm(stages_[last].conv_bias, windows(x, rows), stages_[last].conv);
  at::Tensor y = at::mm(windows(x, rows), final_block_.weight);
  norm_mish(bf16(y), fp32(final_block_.bias), final_block_.norm.pointers(), nullptr, bf16_out(y), rows.total(),
            static_cast<int>(channels_), stream());
  return at::mm(y, final_weight_, at::kFloat);
}

at::Tensor CudaFlow::guided_pair(const at::Tensor& x, const FlowConditions& conditions, const at::Tensor& time,
                                 const PackedRows& frames) const {
  const GuidedRows rows(frames, x.device());
  at::Tensor input = make_input(conditions);
  input.view({2, rows.frames, input.size(1)}).narrow(2, 0, mel_channels_).copy_(x);
  const at::Tensor biases = reference_.estimator().time_biases(time).select(0, 0);
  return estimate(input, biases, rows).add_(reference_.estimator().final_bias()).view({2, rows.frames, mel_channels_});
}

at::Tensor CudaFlow::solve(const at::Tensor& noise, const FlowConditions& conditions, const PackedRows& frames,
                           int num_steps, const Probe& probe) const {
  const GuidedRows rows(frames, noise.device());
  const at::Tensor times = chatterbox::cosine_schedule(num_steps);
  const at::Tensor biases = reference_.estimator().time_biases(upload(times.narrow(0, 0, num_steps), noise.device()));
  at::Tensor input = make_input(conditions);
  at::Tensor x = noise.clone();
  EulerStep euler{0, static_cast<float>(chatterbox::flow_guidance), static_cast<int>(mel_channels_),
                  static_cast<int>(input.size(1))};
  const float* const bias = fp32(reference_.estimator().final_bias());
  euler_step(x.data_ptr<float>(), nullptr, bias, bf16_out(input), rows.frames, euler, stream());
  for (int step = 0; step < num_steps; ++step) {
    const at::Tensor directions = estimate(input, biases.select(0, step), rows);
    euler.size = times.data_ptr<float>()[step + 1] - times.data_ptr<float>()[step];
    euler_step(x.data_ptr<float>(), fp32(directions), bias, bf16_out(input), rows.frames, euler, stream());
    if (probe) {
      probe("x_after_step" + std::to_string(step + 1), x);
    }
  }
  return x;
}

} // namespace audiobookd::engine::cuda
