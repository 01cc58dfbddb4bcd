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

class FlowEncoder {
public:
  /// Mel frames made from one speech token.
  static constexpr std::int64_t frames_per_token = 2;

  /// @param weights the dictionary at "flow.".
  FlowEncoder(const FlowConfig& config, const StateDict& weights);

  /// @param tokens [rows.total()] int64 in [0, vocabulary): each sequence is a voice prompt's tokens and then its own.
  /// @param probe sees embed, lookahead, low_rate, upsampled and encoder_out, each [rows, size].
  /// @return mu, [rows.total() * frames_per_token, mel_channels]
  [[nodiscard]] at::Tensor forward(const at::Tensor& tokens, const PackedRows& rows, const Probe& probe = {});

private:
  /// Linear layer and norm, scaled for what follows.
  struct InputLayer {
    InputLayer(const StateDict& weights, const std::string& name, std::int64_t size);
    [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;
    Linear linear;
    LayerNorm norm;
  };

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
