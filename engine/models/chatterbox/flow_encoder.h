// Speech tokens to mu, the mean of the flow: 25 tokens a second in, 50 frames of 80 channels a second out.
// (The conformer encoder of CosyVoice 2, Du et al. 2024, with a look-ahead convolution and upsampling by two.)
//
// forward() may extend position tables: one thread at a time.
#pragma once

#include "engine/layers/conformer.h"
#include "engine/layers/linear.h"
#include "engine/layers/packed_rows.h"
#include "engine/layers/probe.h"
#include "engine/layers/window_conv.h"
#include "engine/models/chatterbox/config.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Turns speech tokens into the flow's mean.
class TokenEncoder {
public:
  TokenEncoder() = default;
  virtual ~TokenEncoder() = default;
  TokenEncoder(const TokenEncoder&) = delete;
  TokenEncoder& operator=(const TokenEncoder&) = delete;

  /// @param tokens [rows.total()] int64 in [0, vocabulary): each sequence is a voice prompt's tokens and then its own.
  /// @return mu, fp32 [rows.total() * FlowEncoder::frames_per_token, mel_channels]
  [[nodiscard]] virtual at::Tensor encode(const at::Tensor& tokens, const PackedRows& rows) = 0;
};

/// The exact encoder, through ATen, on any device.
class FlowEncoder final : public TokenEncoder {
public:
  /// Mel frames made from one speech token.
  static constexpr std::int64_t frames_per_token = 2;
  /// Slope of the leaky rectifier between the look-ahead convolutions.
  static constexpr double leaky_slope = 0.01;

  /// @param weights the dictionary at "flow.".
  FlowEncoder(const FlowConfig& config, const StateDict& weights);

  /// encode(), observed. @param probe sees embed, lookahead, low_rate, upsampled and encoder_out, each [rows, size].
  [[nodiscard]] at::Tensor forward(const at::Tensor& tokens, const PackedRows& rows, const Probe& probe = {});
  [[nodiscard]] at::Tensor encode(const at::Tensor& tokens, const PackedRows& rows) override {
    return forward(tokens, rows);
  }

  /// Linear layer and norm, scaled by sqrt(size) for what follows.
  struct InputLayer {
    InputLayer(const StateDict& weights, const std::string& name, std::int64_t size);
    [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;
    Linear linear;
    LayerNorm norm;
  };

  [[nodiscard]] const at::Tensor& embedding() const noexcept { return embedding_; }
  [[nodiscard]] const InputLayer& embed() const noexcept { return embed_; }
  [[nodiscard]] const WindowConv& lookahead_conv() const noexcept { return lookahead_conv_; }
  [[nodiscard]] const WindowConv& lookahead_smooth() const noexcept { return lookahead_smooth_; }
  [[nodiscard]] const std::vector<ConformerBlock>& blocks() const noexcept { return blocks_; }
  [[nodiscard]] const WindowConv& up_conv() const noexcept { return up_conv_; }
  [[nodiscard]] const InputLayer& up_embed() const noexcept { return up_embed_; }
  [[nodiscard]] const std::vector<ConformerBlock>& up_blocks() const noexcept { return up_blocks_; }
  [[nodiscard]] const LayerNorm& after_norm() const noexcept { return after_norm_; }
  [[nodiscard]] const Linear& projection() const noexcept { return projection_; }

private:
  [[nodiscard]] at::Tensor look_ahead(const at::Tensor& x, const PackedRows& rows) const;
  [[nodiscard]] at::Tensor upsample(const at::Tensor& x, const PackedRows& frames) const;

  at::Tensor embedding_; // [vocabulary, size]
  InputLayer embed_;
  WindowConv lookahead_conv_;
  WindowConv lookahead_smooth_;
  std::vector<ConformerBlock> blocks_;
  WindowConv up_conv_;
  InputLayer up_embed_;
  std::vector<ConformerBlock> up_blocks_;
  LayerNorm after_norm_;
  Linear projection_;
};

} // namespace audiobookd::engine::chatterbox
