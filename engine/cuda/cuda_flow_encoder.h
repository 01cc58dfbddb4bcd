// The flow encoder in bf16 on a GPU: all utterances packed, no launch depends on how many there are.
//
// Weights and what lies between layers are bf16; the residual stream, norms and sums are fp32. What depends on a token
// or a distance alone comes from tables. Not thread-safe: encode() may extend tables; works on the current stream.
#pragma once

#include "engine/cuda/flow_encoder_kernels.h"
#include "engine/models/chatterbox/flow_encoder.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

namespace audiobookd::engine::cuda {

class CudaFlowEncoder final : public chatterbox::TokenEncoder {
public:
  /// Whether this encoder is on a GPU and has the dimensions that the kernels are made for.
  [[nodiscard]] static bool suits(const chatterbox::FlowEncoder& reference);

  /// Converts the weights of @p reference, which must suit.
  explicit CudaFlowEncoder(const chatterbox::FlowEncoder& reference);

  [[nodiscard]] at::Tensor encode(const at::Tensor& tokens, const PackedRows& rows) override;

private:
  struct Norm {
    at::Tensor weight, bias; // fp32
    float epsilon;
  };
  /// x W + b.
  struct Product {
    at::Tensor weight; // bf16 [in, out] view
    at::Tensor bias;   // bf16 [out]
  };
  struct Convolution {
    Product product;
    WindowShape shape;
  };
  struct Block {
    Norm attention_norm, feed_forward_norm;
    Product qkv, out, widen, narrow;
    at::Tensor position_weight; // fp32 [size, size]
    at::Tensor position_bias;   // v - u, fp32 [heads, head width]
    at::Tensor positions;       // of RelativePositions
    at::Tensor position_scores;
  };
  /// Blocks at one rate.
  struct Tower {
    std::vector<Block> blocks;
    int capacity = 0; // of the blocks' RelativePositions
  };

  [[nodiscard]] static Norm convert(const LayerNorm& norm);
  [[nodiscard]] static Product convert(const at::Tensor& weight, const at::Tensor& bias);
  [[nodiscard]] static Convolution convert(const WindowConv& conv, double slope);
  [[nodiscard]] static Block convert(const ConformerBlock& block);
  [[nodiscard]] static Tower convert(const std::vector<ConformerBlock>& blocks);
  void convert_upsampling(const chatterbox::FlowEncoder& reference);

  void extend_positions(Tower& tower, std::int64_t length) const;
  [[nodiscard]] at::Tensor norm(const at::Tensor& x, const at::Tensor& delta, const Norm& norm) const;
  [[nodiscard]] at::Tensor run(Tower& tower, const at::Tensor& x, at::Tensor delta,
                               const PackedSequences& sequences) const;

  std::int64_t size_;
  std::int64_t heads_;
  at::Tensor embedded_; // fp32 [vocabulary, size], what the input layer makes of every token
  Convolution ahead_, smooth_;
  Tower tower_, up_tower_;
  Convolution up_; // with the linear layer that follows; its outputs are the frames of a token side by side
  Norm up_norm_;
  Norm after_norm_;
  at::Tensor projection_, projection_bias_; // bf16 [size, mel_channels] view, fp32
};

} // namespace audiobookd::engine::cuda
