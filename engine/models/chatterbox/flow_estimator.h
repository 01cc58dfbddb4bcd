// The vector field of the flow: from a noisy mel, its conditions and a time to the direction towards clean mel.
// (The causal U-Net of CosyVoice 2's flow matching, Du et al. 2024: one down, several middle and one up stage, each a
// causal residual convolution block and transformer blocks whose attention sees the whole utterance.)
//
// Immutable once built; any thread may call it.
#pragma once

#include "engine/layers/linear.h"
#include "engine/layers/packed_rows.h"
#include "engine/layers/probe.h"
#include "engine/layers/window_conv.h"
#include "engine/models/chatterbox/config.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <optional>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Sines then cosines of 1000 t f for channels / 2 frequencies f from 1 down to 1/10000.
/// @param times [n] fp32. @return [n, channels]
[[nodiscard]] at::Tensor time_sinusoids(const at::Tensor& times, std::int64_t channels);

class FlowEstimator {
public:
  /// Causal convolution, layer norm over channels, Mish.
  struct ConvBlock {
    ConvBlock(const StateDict& weights, const std::string& name, std::int64_t in, std::int64_t out);
    [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask) const;
    WindowConv conv;
    LayerNorm norm;
  };

  /// Two convolution blocks with the time between them, beside a linear shortcut.
  struct ResidualBlock {
    ResidualBlock(const StateDict& weights, std::int64_t in, std::int64_t out);
    [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& time_bias, const at::Tensor& mask) const;
    ConvBlock first;
    ConvBlock second;
    at::Tensor shortcut_weight; // [out, in]
    at::Tensor shortcut_bias;   // [out]
  };

  /// Pre-norm attention without projection biases, and an erf-GELU feed-forward layer.
  struct TransformerBlock {
    TransformerBlock(const StateDict& weights, std::int64_t channels, std::int64_t num_heads, std::int64_t head_dim);
    [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const PackedRows& frames) const;
    [[nodiscard]] at::Tensor attend(const at::Tensor& x, const PackedRows& frames) const;
    std::int64_t num_heads;
    std::int64_t head_dim;
    LayerNorm attention_norm;
    at::Tensor qkv_weight; // [3 * heads * head_dim, channels]
    Linear out;
    LayerNorm feed_forward_norm;
    Linear widen;
    Linear narrow;
  };

  /// One stage of the U-Net; the middle ones have no convolution at their end.
  struct Stage {
    Stage(const FlowConfig& config, const StateDict& weights, std::int64_t in, bool ends_in_conv);
    ResidualBlock residual;
    std::vector<TransformerBlock> transformers;
    std::optional<WindowConv> conv;
  };

  /// @param weights the dictionary at "flow.decoder.estimator.".
  FlowEstimator(const FlowConfig& config, const StateDict& weights);

  /// @param times [n] fp32 in [0, 1]. @return [n, 4 * channels]
  [[nodiscard]] at::Tensor time_embedding(const at::Tensor& times) const;

  /// All that the network needs to know of @p times, computed once for every step of a solution.
  /// @param times [n] fp32. @return [n, stages, channels]; row i belongs to forward() at times[i]
  [[nodiscard]] at::Tensor time_biases(const at::Tensor& times) const;

  /// The mask that forward() wants for @p frames.
  [[nodiscard]] at::Tensor mask(const PackedRows& frames) const { return final_block_.conv.mask(frames); }

  /// @param input [batch, frames, in_channels] contiguous: x, mu, speaker and prompt mel side by side. All batch
  /// entries (the guided one and the unguided one) have the row layout of @p frames.
  /// @param time_bias [stages, channels]. @param mask from mask().
  /// @param probe sees down_resnet, down_attn, down_conv, mid_out, up_conv and final_block, [batch, frames, channels].
  /// @return dx/dt, [batch, frames, mel_channels]
  [[nodiscard]] at::Tensor forward(const at::Tensor& input, const at::Tensor& time_bias, const PackedRows& frames,
                                   const at::Tensor& mask, const Probe& probe = {}) const;

  // The weights, for implementations in other arithmetic.
  [[nodiscard]] std::int64_t in_channels() const noexcept { return in_channels_; }
  [[nodiscard]] const std::vector<Stage>& stages() const noexcept { return stages_; } ///< down, middle …, up
  [[nodiscard]] const ConvBlock& final_block() const noexcept { return final_block_; }
  [[nodiscard]] const at::Tensor& final_weight() const noexcept { return final_weight_; } ///< [mel_channels, channels]
  [[nodiscard]] const at::Tensor& final_bias() const noexcept { return final_bias_; }     ///< [mel_channels]

private:
  [[nodiscard]] static std::vector<Stage> make_stages(const FlowConfig& config, const StateDict& weights);
  void stack_time_layers(const FlowConfig& config, const StateDict& weights);
  [[nodiscard]] static at::Tensor run(const Stage& stage, const at::Tensor& x, const at::Tensor& time_bias,
                                      const PackedRows& frames, const at::Tensor& mask, const Probe& probe = {});

  std::int64_t in_channels_;
  Linear time_widen_;
  Linear time_out_;
  std::vector<Stage> stages_;    // down, middle …, up
  at::Tensor time_stage_weight_; // [stages * channels, 4 * channels], the stages' time layers on top of each other
  at::Tensor time_stage_bias_;   // [stages * channels]
  ConvBlock final_block_;
  at::Tensor final_weight_; // [mel_channels, channels]
  at::Tensor final_bias_;   // [mel_channels]
};

} // namespace audiobookd::engine::chatterbox
