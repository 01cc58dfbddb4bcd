// The flow estimator of the published width on Hopper: one kernel a transformer block beside its attention.
// Not thread-safe; works on the current stream.
#pragma once

#include "engine/cuda/cuda_flow_rows.h"
#include "engine/cuda/flow_kernels_fused.h"
#include "engine/models/chatterbox/flow_estimator.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine::cuda {

class FusedFlow {
public:
  /// Whether this estimator has the dimensions, and its GPU the instructions, that the kernels are made for.
  [[nodiscard]] static bool suits(const chatterbox::FlowEstimator& estimator);

  /// Converts the weights of @p estimator, which must suit.
  /// @param fp8 whether products of transformer blocks take e4m3 instead of bf16.
  explicit FusedFlow(const chatterbox::FlowEstimator& estimator, bool fp8 = false);

  /// @param input bf16 [rows, in_channels]. @param time_bias fp32 [stages, channels].
  /// @return fp32 [rows, mel_channels], the last layer's bias still missing
  [[nodiscard]] at::Tensor estimate(const at::Tensor& input, const at::Tensor& time_bias, const GuidedRows& rows) const;

private:
  using Estimator = chatterbox::FlowEstimator;

  struct Norm {
    at::Tensor weight, bias; // fp32
  };
  struct Convolution {
    at::Tensor weights; // packed
    at::Tensor bias;    // fp32
    Norm norm;          // undefined: none
  };
  /// Query-key-value weights with their norm folded in.
  struct Projections {
    at::Tensor weights; // packed
    at::Tensor bias;
    Fp8Factors factors{}; // those of projections
    float values = 1;     // what values, and so the attention's result, are multiplied by
  };
  struct Entrance {
    at::Tensor weights; // packed, bytes
    at::Tensor bias, shortcut_bias, projection_bias;
    Norm norm;
    Fp8Factors factors{};
  };
  struct Block {
    at::Tensor weights; // packed, bytes
    at::Tensor out_bias, widen_bias, narrow_bias, projection_bias;
    Fp8Factors factors{};
  };
  struct Stage {
    Convolution first;
    Entrance entrance;
    std::vector<Block> blocks;
    Convolution last; // undefined in the middle
  };

  [[nodiscard]] Stage convert(const Estimator::Stage& stage) const;
  [[nodiscard]] static Entrance convert_entrance(const Estimator::Stage& stage, const Projections& first);
  [[nodiscard]] Projections convert_projections(const Estimator::TransformerBlock& block) const;
  [[nodiscard]] Block convert_block(const Estimator::TransformerBlock& block, const Projections& own,
                                    const Projections* next) const;
  [[nodiscard]] at::Tensor convolve(const Convolution& layer, const at::Tensor& x, const at::Tensor& addend,
                                    const GuidedRows& rows) const;
  [[nodiscard]] at::Tensor run(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                               const GuidedRows& rows) const;
  template <class Operand>
  [[nodiscard]] static at::Tensor transform(const Stage& stage, const at::Tensor& y, const at::Tensor& x,
                                            const GuidedRows& rows);

  bool fp8_;
  std::vector<Stage> stages_;
  Convolution final_block_;
  at::Tensor final_weight_; // bf16 [channels, mel_channels] view
  at::Tensor zeros_;        // fp32 [channels]
};

} // namespace audiobookd::engine::cuda
