#include "engine/cuda/cuda_flow_fused.h"

#include "engine/cuda/device_pointers.h"
#include "engine/cuda/pack_weights.h"
#include "engine/device.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>
#include <type_traits>

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

/// The largest power of two by which values as large as @p largest may be multiplied to be e4m3.
float fp8_scale(double largest) {
  return largest > 0 ? static_cast<float>(std::exp2(std::floor(std::log2(fp8_limit / largest)))) : 1;
}

double largest_of(const at::Tensor& t) { return t.abs().max().item<double>(); }

/// The largest that a value of W x + b can be where x is a row after LayerNorm, whose norm is sqrt(channels).
double largest_output(const Folded& layer) {
  const at::Tensor norms = at::linalg_vector_norm(layer.weight, 2, at::IntArrayRef{1});
  return largest_of(norms * std::sqrt(static_cast<double>(fused_channels)) + layer.bias.abs());
}

/// Weights as the kernels read them, and what their products are multiplied by.
struct Packed {
  at::Tensor bytes;
  float factor;
};

/// @param left what the product's left operand has been multiplied by to be e4m3
Packed pack_operand(const at::Tensor& weight, std::int64_t tile_rows, bool fp8, float left) {
  if (!fp8) {
    return {pack_weights(weight, tile_rows).view(at::kByte), 1};
  }
  const float scale = fp8_scale(largest_of(weight));
  return {pack_weights_e4m3(weight * scale, tile_rows), 1 / (left * scale)};
}

/// Both feed-forward layers by turns. @return bytes
at::Tensor by_turns(const at::Tensor& widen, const at::Tensor& narrow) {
  const std::int64_t slices = fused_feed_forward / hidden_tile;
  return at::stack({widen.view({slices, -1}), narrow.view({slices, -1})}, 1).flatten();
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

FusedFlow::Projections FusedFlow::convert_projections(const Estimator::TransformerBlock& block) const {
  const Folded qkv = fold_norm(block.attention_norm, with_scaled_queries(block.qkv_weight, block.head_dim), {});
  Projections result;
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> biases;
  for (int part = 0; part < 3; ++part) {
    const Folded own{qkv.weight.narrow(0, part * fused_inner, fused_inner),
                     qkv.bias.narrow(0, part * fused_inner, fused_inner)};
    const Packed packed = pack_operand(own.weight, wide_tile, fp8_, fp8_norm_scale);
    if (fp8_ && part == 2) { // a mean of values is no larger than the largest of them
      result.values = fp8_scale(largest_output(own));
    }
    result.factors.projections[part] = packed.factor * result.values;
    weights.push_back(packed.bytes);
    biases.push_back(own.bias / packed.factor);
  }
  result.weights = at::cat(weights);
  result.bias = at::cat(biases);
  return result;
}

FusedFlow::Entrance FusedFlow::convert_entrance(const Estimator::Stage& stage, const Projections& first) {
  const Estimator::ResidualBlock& residual = stage.residual;
  return {at::cat({pack_weights(residual.second.conv.weight(), wide_tile).view(at::kByte),
                   pack_weights(residual.shortcut_weight, wide_tile).view(at::kByte), first.weights}),
          residual.second.conv.bias(),
          residual.shortcut_bias,
          first.bias,
          {residual.second.norm.weight, residual.second.norm.bias},
          first.factors};
}

FusedFlow::Block FusedFlow::convert_block(const Estimator::TransformerBlock& block, const Projections& own,
                                          const Projections* next) const {
  const Folded widen = fold_norm(block.feed_forward_norm, block.widen.weight, block.widen.bias);
  const float hidden = fp8_scale(largest_output(widen)); // GELU makes nothing larger
  const Packed out = pack_operand(block.out.weight, wide_tile, fp8_, own.values);
  const Packed first = pack_operand(widen.weight, hidden_tile, fp8_, fp8_norm_scale);
  const Packed second = pack_operand(block.narrow.weight, wide_tile, fp8_, hidden);
  std::vector<at::Tensor> weights{out.bytes, by_turns(first.bytes, second.bytes)};
  Block fused{
      {}, block.out.bias, widen.bias, block.narrow.bias, {}, {out.factor, first.factor, hidden / 2, second.factor, {}}};
  if (next != nullptr) {
    weights.push_back(next->weights);
    fused.projection_bias = next->bias;
    std::copy_n(next->factors.projections, 3, fused.factors.projections);
  }
  fused.weights = at::cat(weights);
  return fused;
}

FusedFlow::Stage FusedFlow::convert(const Estimator::Stage& stage) const {
  const Estimator::ConvBlock& first = stage.residual.first;
  std::vector<Projections> projections;
  for (const Estimator::TransformerBlock& block : stage.transformers) {
    projections.push_back(convert_projections(block));
  }
  Stage fused{{pack_weights(first.conv.weight(), wide_tile), first.conv.bias(), {first.norm.weight, first.norm.bias}},
              convert_entrance(stage, projections.front()),
              {},
              {}};
  for (std::size_t i = 0; i < stage.transformers.size(); ++i) {
    const bool last = i + 1 == stage.transformers.size();
    fused.blocks.push_back(convert_block(stage.transformers[i], projections[i], last ? nullptr : &projections[i + 1]));
  }
  if (stage.conv) {
    fused.last = {pack_weights(stage.conv->weight(), wide_tile), stage.conv->bias(), {}};
  }
  return fused;
}

FusedFlow::FusedFlow(const Estimator& estimator, bool fp8)
    : fp8_(fp8), final_block_{pack_weights(estimator.final_block().conv.weight(), wide_tile),
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
  const at::Tensor y = convolve(stage.first, x, time_bias, rows);
  return fp8_ ? transform<__nv_fp8_e4m3>(stage, y, x, rows) : transform<__nv_bfloat16>(stage, y, x, rows);
}

/// What follows a stage's first convolution. @param y its result, bf16 [rows, channels]. @param x of the stage.
/// @return bf16 [rows, channels]
template <class Operand>
at::Tensor FusedFlow::transform(const Stage& stage, const at::Tensor& y, const at::Tensor& x, const GuidedRows& rows) {
  constexpr bool fp8 = std::is_same_v<Operand, __nv_fp8_e4m3>;
  const auto count = static_cast<int>(rows.total());
  const at::Tensor residual = at::empty({fused_residual_size(count)}, x.options().dtype(at::kFloat));
  at::Tensor qkv = at::empty({count, 3 * fused_inner}, x.options());
  const Entrance& in = stage.entrance;
  fused_entrance<Operand>({in.weights.const_data_ptr(),
                           fp32(in.bias),
                           {fp32(in.norm.weight), fp32(in.norm.bias)},
                           fp32(in.shortcut_bias),
                           fp32(in.projection_bias),
                           in.factors},
                          {bf16(y), fused_channels}, {bf16(x), static_cast<int>(x.size(1))},
                          rows.positions.const_data_ptr<int>(), residual.data_ptr<float>(), bf16_out(qkv), count,
                          stream());
  for (const Block& block : stage.blocks) {
    const at::Tensor attended = fp8 ? attend_e4m3(qkv, rows, heads) : attend(qkv, rows, heads);
    if (!block.projection_bias.defined()) {
      qkv = at::empty({count, fused_channels}, x.options());
    }
    fused_block<Operand>({elements<Operand>(block.weights), fp32(block.out_bias), fp32(block.widen_bias),
                          fp32(block.narrow_bias), fp32(block.projection_bias), block.factors},
                         elements<Operand>(attended), residual.data_ptr<float>(), bf16_out(qkv), count, stream());
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
