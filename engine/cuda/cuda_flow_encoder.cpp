#include "engine/cuda/cuda_flow_encoder.h"

#include "engine/cuda/device_pointers.h"
#include "engine/device.h"

#include <ATen/ATen.h>
#include <cmath>
#include <utility>

namespace audiobookd::engine::cuda {
namespace {

using chatterbox::FlowEncoder;

/// Position tables grow in steps of so many rows, so that slowly growing lengths do not recompute them each time.
constexpr std::int64_t position_granularity = 512;

/// [out, in] fp32 to an [in, out] view of bf16.
at::Tensor half_transposed(const at::Tensor& weight) { return weight.to(at::kBFloat16).t(); }

/// @return [sequences + 1] int32, cumulative rows
at::Tensor starts_of(const PackedRows& rows) {
  at::Tensor starts = at::empty({rows.count() + 1}, at::kInt);
  int* const at = starts.data_ptr<int>();
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    at[i] = static_cast<int>(rows.start(i));
  }
  at[rows.count()] = static_cast<int>(rows.total());
  return starts;
}

/// @return [rows, 2] int32, a RowPlace each
at::Tensor places_of(const PackedRows& rows) {
  at::Tensor places = at::empty({rows.total(), 2}, at::kInt);
  auto* place = reinterpret_cast<RowPlace*>(places.data_ptr<int>());
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    const int length = static_cast<int>(rows.length(i));
    for (int row = 0; row < length; ++row) {
      *place++ = {row, length - 1 - row};
    }
  }
  return places;
}

/// @param x fp32 or bf16 [rows, columns]. @return bf16 [rows, taps * columns]
at::Tensor windows(const at::Tensor& x, const at::Tensor& places, const WindowShape& shape) {
  at::Tensor out = at::empty({x.size(0), shape.taps * x.size(1)}, x.options().dtype(at::kBFloat16));
  const auto make = [&](const auto* from) {
    sequence_windows(from, reinterpret_cast<const RowPlace*>(int32(places)), shape, bf16_out(out), x.size(0),
                     static_cast<int>(x.size(1)), stream());
  };
  x.scalar_type() == at::kFloat ? make(fp32(x)) : make(bf16(x));
  return out;
}

} // namespace

// -------------------------------------------------------------------------------------------------- the weights

bool CudaFlowEncoder::suits(const FlowEncoder& reference) {
  const std::int64_t size = reference.embedding().size(1);
  return reference.embedding().is_cuda() && size <= max_encoder_size &&
         size == reference.blocks().front().attention().num_heads() * encoder_head_size;
}

CudaFlowEncoder::Norm CudaFlowEncoder::convert(const LayerNorm& norm) {
  return {norm.weight, norm.bias, static_cast<float>(norm.epsilon)};
}

CudaFlowEncoder::Product CudaFlowEncoder::convert(const at::Tensor& weight, const at::Tensor& bias) {
  return {half_transposed(weight), bias.to(at::kBFloat16)};
}

CudaFlowEncoder::Convolution CudaFlowEncoder::convert(const WindowConv& conv, double slope) {
  return {convert(conv.weight(), conv.bias()),
          {static_cast<int>(conv.first_tap()), static_cast<int>(conv.num_taps()), static_cast<float>(slope)}};
}

CudaFlowEncoder::Block CudaFlowEncoder::convert(const ConformerBlock& block) {
  const RelativeAttention& attention = block.attention();
  // The content bias goes to the queries, and what the position bias differs from it to the positions.
  at::Tensor qkv_bias = attention.qkv_bias().clone();
  qkv_bias.narrow(0, 0, attention.content_bias().numel()).add_(attention.content_bias().flatten());
  return {convert(block.attention_norm()),
          convert(block.feed_forward_norm()),
          convert(attention.qkv_weight(), qkv_bias),
          convert(attention.out().weight, attention.out().bias),
          convert(block.widen().weight, block.widen().bias),
          convert(block.narrow().weight, block.narrow().bias),
          attention.position_weight(),
          attention.position_bias() - attention.content_bias(),
          {},
          {}};
}

CudaFlowEncoder::Tower CudaFlowEncoder::convert(const std::vector<ConformerBlock>& blocks) {
  Tower tower;
  for (const ConformerBlock& block : blocks) {
    tower.blocks.push_back(convert(block));
  }
  return tower;
}

/// Both frames of a token from windows of tokens: frame `phase` of token t sees frames 2 t + phase - 4 … 2 t + phase,
/// which repeat tokens t - 2 … t. The linear layer after the convolution is multiplied into it.
void CudaFlowEncoder::convert_upsampling(const FlowEncoder& reference) {
  constexpr std::int64_t phases = FlowEncoder::frames_per_token;
  const WindowConv& conv = reference.up_conv();
  const Linear& linear = reference.up_embed().linear;
  const std::int64_t tokens = (conv.num_taps() - 1) / phases + 1;
  const at::Tensor by_tap = conv.weight().view({size_, conv.num_taps(), size_});
  at::Tensor weight = at::zeros({phases, size_, tokens, size_}, by_tap.options());
  for (std::int64_t phase = 0; phase < phases; ++phase) {
    for (std::int64_t tap = 0; tap < conv.num_taps(); ++tap) {
      weight.select(0, phase).select(1, (phase + tap) / phases).add_(by_tap.select(1, tap));
    }
  }
  const at::Tensor folded = at::matmul(linear.weight, weight.view({phases, size_, tokens * size_}));
  const at::Tensor bias = at::mv(linear.weight, conv.bias()) + linear.bias;
  up_ = {convert(folded.flatten(0, 1), bias.repeat({phases})),
         {static_cast<int>(1 - tokens), static_cast<int>(tokens), 1}};
  const LayerNorm& norm = reference.up_embed().norm;
  const double scale = std::sqrt(static_cast<double>(size_));
  up_norm_ = {norm.weight * scale, norm.bias * scale, static_cast<float>(norm.epsilon)};
}

CudaFlowEncoder::CudaFlowEncoder(const FlowEncoder& reference)
    : size_(reference.embedding().size(1)), heads_(size_ / encoder_head_size),
      embedded_(reference.embed()(reference.embedding())), ahead_(convert(reference.lookahead_conv(), 1)),
      smooth_(convert(reference.lookahead_smooth(), FlowEncoder::leaky_slope)), tower_(convert(reference.blocks())),
      up_tower_(convert(reference.up_blocks())), after_norm_(convert(reference.after_norm())),
      projection_(half_transposed(reference.projection().weight)), projection_bias_(reference.projection().bias) {
  convert_upsampling(reference);
}

// --------------------------------------------------------------------------------------------------- the layers

/// Makes the tower's position tables long enough for sequences of @p length rows.
void CudaFlowEncoder::extend_positions(Tower& tower, std::int64_t length) const {
  const std::int64_t needed = length + position_margin;
  if (tower.capacity >= needed) {
    return;
  }
  const std::int64_t capacity = (needed + position_granularity - 1) / position_granularity * position_granularity;
  const at::Tensor sinusoids =
      at::constant_pad_nd(relative_sinusoids(capacity, size_), {0, 0, 0, 1}).to(embedded_.device());
  for (Block& block : tower.blocks) {
    const at::Tensor positions = at::linear(sinusoids, block.position_weight);
    block.positions = positions.to(at::kBFloat16);
    block.position_scores =
        (positions.view({2 * capacity, heads_, encoder_head_size}) * block.position_bias).sum(-1).t().contiguous();
  }
  tower.capacity = static_cast<int>(capacity);
}

/// x += delta, where there is one. @return the norm of x, bf16
at::Tensor CudaFlowEncoder::norm(const at::Tensor& x, const at::Tensor& delta, const Norm& norm) const {
  at::Tensor out = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  encoder_norm(fp32_out(x), bf16(delta), {fp32(norm.weight), fp32(norm.bias)}, norm.epsilon, bf16_out(out), x.size(0),
               static_cast<int>(size_), stream());
  return out;
}

/// @param x the residual stream, fp32 [rows, size]; changed. @param delta bf16, to be added to it first; or undefined.
/// @return what is to be added to it at the end
at::Tensor CudaFlowEncoder::run(Tower& tower, const at::Tensor& x, at::Tensor delta,
                                const PackedSequences& sequences) const {
  extend_positions(tower, sequences.longest);
  const auto apply = [](const Product& product, const at::Tensor& rows) {
    return at::addmm(product.bias, rows, product.weight);
  };
  const at::Tensor attended = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  for (const Block& block : tower.blocks) {
    const at::Tensor qkv = apply(block.qkv, norm(x, delta, block.attention_norm));
    relative_attention(bf16(qkv), {bf16(block.positions), fp32(block.position_scores), tower.capacity}, sequences,
                       static_cast<int>(heads_), bf16_out(attended), stream());
    delta = apply(block.out, attended);
    at::Tensor wide = apply(block.widen, norm(x, delta, block.feed_forward_norm));
    delta = apply(block.narrow, at::silu_(wide));
  }
  return delta;
}

at::Tensor CudaFlowEncoder::encode(const at::Tensor& tokens, const PackedRows& rows) {
  const PackedRows frames = rows.stretched(FlowEncoder::frames_per_token);
  const at::Tensor places = upload(places_of(rows), tokens.device());
  const at::Tensor starts = upload(starts_of(rows), tokens.device());
  const at::Tensor frame_starts = upload(starts_of(frames), tokens.device());
  const auto sequences = [](const at::Tensor& from, const PackedRows& of) {
    return PackedSequences{int32(from), static_cast<int>(of.count()), static_cast<int>(of.longest())};
  };
  const auto convolve = [&](const Convolution& layer, const at::Tensor& x) {
    return at::addmm(layer.product.bias, windows(x, places, layer.shape), layer.product.weight);
  };

  at::Tensor x = at::embedding(embedded_, tokens);
  at::Tensor delta = convolve(smooth_, convolve(ahead_, x));
  delta = run(tower_, x, delta, sequences(starts, rows));
  const at::Tensor up = convolve(up_, x.add_(delta)).view({frames.total(), size_});
  x = at::layer_norm(up.to(at::kFloat), {size_}, up_norm_.weight, up_norm_.bias, up_norm_.epsilon);
  delta = run(up_tower_, x, {}, sequences(frame_starts, frames));
  return at::mm(norm(x, delta, after_norm_), projection_, at::kFloat).add_(projection_bias_);
}

} // namespace audiobookd::engine::cuda
