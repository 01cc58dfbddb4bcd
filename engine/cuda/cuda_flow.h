// The flow in bf16 on a GPU: packed utterances of different lengths with both guidance rows in one batch.
//
// Weights and what lies between layers are bf16; the Euler state, the residual stream, norms and sums are fp32. Nothing
// is padded: matrix products run over all rows, attention over each sequence, and a convolution sees zeros before its
// sequence. Not thread-safe; works on the current stream.
#pragma once

#include "engine/cuda/cuda_flow_fused.h"
#include "engine/cuda/cuda_flow_rows.h"
#include "engine/cuda/flow_kernels.h"
#include "engine/models/chatterbox/cfm_decoder.h"

#include <ATen/core/Tensor.h>
#include <optional>
#include <vector>

namespace audiobookd::engine::cuda {

/// Which kernels carry the estimator.
enum class FlowKernels {
  fastest, ///< fused where FusedFlow::suits(), general elsewhere
  fp8,     ///< fused, transformer blocks' products in e4m3: faster and less exact
  general  ///< matrix products and element-wise kernels for any width
};

class CudaFlow final : public chatterbox::FlowSolver {
public:
  /// Converts the weights of @p reference, which must outlive this.
  /// @throws std::invalid_argument when the estimator's dimensions or the GPU do not suit the kernels.
  explicit CudaFlow(const chatterbox::CfmDecoder& reference, FlowKernels kernels = FlowKernels::fastest);

  [[nodiscard]] at::Tensor solve(const at::Tensor& noise, const chatterbox::FlowConditions& conditions,
                                 const PackedRows& frames, int num_steps, const Probe& probe) const override;

  /// The estimator's answer for the conditional and the unconditional row, [2, frames, mel_channels] fp32, as
  /// CfmDecoder::guided_pair().
  [[nodiscard]] at::Tensor guided_pair(const at::Tensor& x, const chatterbox::FlowConditions& conditions,
                                       const at::Tensor& time, const PackedRows& frames) const;

private:
  /// LayerNorm parameters, fp32.
  struct Norm {
    at::Tensor weight, bias;
    [[nodiscard]] NormWeights pointers() const;
  };
  struct ConvBlock {
    at::Tensor weight; // bf16 [3 * in, channels] view
    at::Tensor bias;   // fp32
    Norm norm;
  };
  struct TransformerBlock {
    Norm attention_norm, feed_forward_norm;
    at::Tensor qkv, out, widen, narrow;           // bf16, transposed views [in, out]
    at::Tensor out_bias, widen_bias, narrow_bias; // fp32
  };
  struct Stage {
    ConvBlock first, second;
    at::Tensor shortcut, shortcut_bias; // bf16 [in, channels] view, fp32
    std::vector<TransformerBlock> transformers;
    at::Tensor conv, conv_bias; // bf16 [3 * channels, channels] view, bf16; undefined in the middle
  };

  [[nodiscard]] static ConvBlock convert(const chatterbox::FlowEstimator::ConvBlock& block);
  [[nodiscard]] static TransformerBlock convert(const chatterbox::FlowEstimator::TransformerBlock& block);
  [[nodiscard]] static Stage convert(const chatterbox::FlowEstimator::Stage& stage);

  [[nodiscard]] at::Tensor make_input(const chatterbox::FlowConditions& conditions) const;
  [[nodiscard]] at::Tensor residual_block(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                                          const GuidedRows& rows) const;
  [[nodiscard]] at::Tensor run(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                               const GuidedRows& rows) const;
  [[nodiscard]] at::Tensor estimate(const at::Tensor& input, const at::Tensor& time_bias, const GuidedRows& rows) const;

  const chatterbox::CfmDecoder& reference_;
  std::int64_t channels_;
  std::int64_t mel_channels_;
  std::int64_t num_heads_;
  std::vector<Stage> stages_;
  ConvBlock final_block_;
  at::Tensor final_weight_; // bf16 [channels, mel_channels] view
  std::optional<FusedFlow> fused_;
};

} // namespace audiobookd::engine::cuda
