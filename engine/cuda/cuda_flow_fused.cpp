#include "engine/cuda/cuda_flow_fused.h"

#include "engine/cuda/device_pointers.h"
#include "engine/cuda/pack_weights.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <utility>

namespace audiobookd::engine::cuda {
namespace {

constexpr std::int64_t wide_tile = fused_channels; // outputs of a weight tile
constexpr std::int64_t hidden_tile = 128;          // the same in the first feed-forward layer
constexpr std::int64_t heads = 8;

struct Folded {
  at::Tensor weight; // [out, in]
  at::Tensor bias;   // [out]
};

/// W (x scale + shift) + b as W' x + b'. @param bias [out] or undefined
Folded fold_norm(const LayerNorm& norm, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor shifted = at::mv(weight, norm.bias);
  return {weight * norm.weight, bias.defined() ? shifted + bias : shifted};
}

} // namespace

bool FusedFlow::suits(const Estimator& estimator) {
  const at::Tensor& weight = estimator.final_weight();
  const auto fits = [](const Estimator::TransformerBlock& block) {
    return block.num_heads * block.head_dim == fused_inner && block.widen.weight.size(0) == fused_feed_forward;
  };
  return is_hopper(weight.device()) && weight.size(1) == fused_channels && estimator.in_channels() % 64 == 0 &&
         std::all_of(estimator.stages().begin(), estimator.stages().end(), [&](const Estimator::Stage& stage) {
           return std::all_of(stage.transformers.begin(), stage.transformers.end(), fits);
         });
}

FusedFlow::Entrance FusedFlow::convert_entrance(const Estimator::Stage& stage) {
  const Estimator::ResidualBlock& residual = stage.residual;
  const Estimator::TransformerBlock& next = stage.transformers.front();
  const Folded qkv = fold_norm(next.attention_norm, with_scaled_queries(next.qkv_weight, next.head_dim), {});
  return {at::cat({pack_weights(residual.second.conv.weight(), wide_tile),
                   pack_weights(residual.shortcut_weight, wide_tile), pack_weights(qkv.weight, wide_tile)}),
          residual.second.conv.bias(),
          residual.shortcut_bias,
          qkv.bias,
          {residual.second.norm.weight, residual.second.norm.bias}};
}

FusedFlow::Block FusedFlow::convert_block(const Estimator::TransformerBlock& block,
                                          const Estimator::TransformerBlock* next) {
  const Folded widen = fold_norm(block.feed_forward_norm, block.widen.weight, block.widen.bias);
  const std::int64_t slices = fused_feed_forward / hidden_tile;
  const at::Tensor by_turns = at::stack({pack_weights(widen.weight, hidden_tile).view({slices, -1}),
                                         pack_weights(block.narrow.weight, wide_tile).view({slices, -1})},
                                        1);
  std::vector<at::Tensor> weights{pack_weights(block.out.weight, wide_tile), by_turns.flatten()};
  Block fused{{}, block.out.bias, widen.bias, block.narrow.bias, {}};
  if (next != nullptr) {
    const Folded qkv = fold_norm(next->attention_norm, with_scaled_queries(next->qkv_weight, next->head_dim), {});
    weights.push_back(pack_weights(qkv.weight, wide_tile));
    fused.projection_bias = qkv.bias;
  }
  fused.weights = at::cat(weights);
  return fused;
}

FusedFlow::Stage FusedFlow::convert(const Estimator::Stage& stage) {
  const Estimator::ConvBlock& first = stage.residual.first;
  Stage fused{{pack_weights(first.conv.weight(), wide_tile), first.conv.bias(), {first.norm.weight, first.norm.bias}},
              convert_entrance(stage),
              {},
              {}};
  for (std::size_t i = 0; i < stage.transformers.size(); ++i) {
    const bool last = i + 1 == stage.transformers.size();
    fused.blocks.push_back(convert_block(stage.transformers[i], last ? nullptr : &stage.transformers[i + 1]));
  }
  if (stage.conv) {
    fused.last = {pack_weights(stage.conv->weight(), wide_tile), stage.conv->bias(), {}};
  }
  return fused;
}

FusedFlow::FusedFlow(const Estimator& estimator)
    : final_block_{pack_weights(estimator.final_block().conv.weight(), wide_tile),
                   estimator.final_block().conv.bias(),
                   {estimator.final_block().norm.weight, estimator.final_block().norm.bias}},
      final_weight_(estimator.final_weight().to(at::kBFloat16).t()),
      zeros_(at::zeros({fused_channels}, estimator.final_weight().options())) {
  for (const Estimator::Stage& stage : estimator.stages()) {
    stages_.push_back(convert(stage));
  }
}

/// @param x bf16 [rows, columns]. @return bf16 [rows, channels]
at::Tensor FusedFlow::convolve(const Convolution& layer, const at::Tensor& x, const at::Tensor& addend,
                               const GuidedRows& rows) const {
  at::Tensor out = at::empty({rows.total(), fused_channels}, x.options());
  fused_convolution(
      {bf16(layer.weights), fp32(layer.bias), {fp32(layer.norm.weight), fp32(layer.norm.bias)}, fp32(addend)},
      {bf16(x), static_cast<int>(x.size(1))}, rows.positions.const_data_ptr<int>(), bf16_out(out),
      static_cast<int>(rows.total()), stream());
  return out;
}

/// @param x bf16 [rows, columns]. @return bf16 [rows, channels]
at::Tensor FusedFlow::run(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                          const GuidedRows& rows) const {
  const auto count = static_cast<int>(rows.total());
  const at::Tensor y = convolve(stage.first, x, time_bias, rows);
  const at::Tensor residual = at::empty({fused_residual_size(count)}, x.options().dtype(at::kFloat));
  at::Tensor qkv = at::empty({count, 3 * fused_inner}, x.options());
  const Entrance& in = stage.entrance;
  fused_entrance({bf16(in.weights),
                  fp32(in.bias),
                  {fp32(in.norm.weight), fp32(in.norm.bias)},
                  fp32(in.shortcut_bias),
                  fp32(in.projection_bias)},
                 {bf16(y), fused_channels}, {bf16(x), static_cast<int>(x.size(1))},
                 rows.positions.const_data_ptr<int>(), residual.data_ptr<float>(), bf16_out(qkv), count, stream());
  for (const Block& block : stage.blocks) {
    const at::Tensor attended = attend(qkv, rows, heads);
    if (!block.projection_bias.defined()) {
      qkv = at::empty({count, fused_channels}, x.options());
    }
    fused_block({bf16(block.weights), fp32(block.out_bias), fp32(block.widen_bias), fp32(block.narrow_bias),
                 fp32(block.projection_bias)},
                bf16(attended), residual.data_ptr<float>(), bf16_out(qkv), count, stream());
  }
  return qkv; // of the last block: its residual stream
}

at::Tensor FusedFlow::estimate(const at::Tensor& input, const at::Tensor& time_bias, const GuidedRows& rows) const {
  const auto bias = [&](std::size_t stage) { return time_bias.select(0, static_cast<std::int64_t>(stage)); };
  const std::size_t last = stages_.size() - 1;
  const at::Tensor skip = run(stages_.front(), input, bias(0), rows);
  at::Tensor x = convolve(stages_.front().last, skip, {}, rows);
  for (std::size_t stage = 1; stage < last; ++stage) {
    x = run(stages_[stage], x, bias(stage), rows);
  }
  x = run(stages_[last], at::cat({x, skip}, 1), bias(last), rows);
  x = convolve(stages_[last].last, x, {}, rows);
  return at::mm(convolve(final_block_, x, zeros_, rows), final_weight_, at::kFloat);
}

} // namespace audiobookd::engine::cuda
