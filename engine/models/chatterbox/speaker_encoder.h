// CAM++ speaker encoder (Wang et al. 2023, arXiv:2303.00332): 80 Kaldi filter banks to a vector of 192, which S3Gen is
// conditioned on. Immutable once built; any thread. One clip at a time. Callers hold an at::InferenceMode guard.
#pragma once

#include "engine/layers/probe.h"
#include "engine/models/chatterbox/config.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Batch normalisation with the statistics of training (Ioffe and Szegedy 2015).
class BatchNorm {
public:
  /// Takes `name.running_mean` and `name.running_var`, [channels], and with @p affine `name.weight` and `name.bias`.
  BatchNorm(const StateDict& weights, const std::string& name, std::int64_t channels, bool affine = true);
  /// @param x [batch, channels, …]. @return the same shape
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;

private:
  at::Tensor weight_, bias_, mean_, variance_; // [channels] each
};

/// Two 3x3 convolutions over [1, channels, bands, frames] around a shortcut; the first may halve the bands.
class ResidualBlock2d {
public:
  ResidualBlock2d(const StateDict& weights, std::int64_t channels, bool halve);
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const;

private:
  std::int64_t stride_;
  at::Tensor conv1_, conv2_; // [channels, channels, 3, 3]
  BatchNorm norm1_, norm2_;
  at::Tensor shortcut_; // [channels, channels, 1, 1]; undefined where the bands stay
  std::optional<BatchNorm> shortcut_norm_;
};

/// One layer of a dense block: a dilated convolution under a mask made of the means of the whole clip and of each
/// second.
class ContextLayer {
public:
  ContextLayer(const StateDict& weights, std::int64_t in, const VoiceModulesConfig& config, std::int64_t dilation);
  /// @param x [1, in, frames]. @return [1, growth_rate, frames], what the layer adds to x
  [[nodiscard]] at::Tensor forward(const at::Tensor& x) const;

private:
  [[nodiscard]] at::Tensor mask(const at::Tensor& x) const;

  std::int64_t dilation_;
  BatchNorm norm1_, norm2_;
  at::Tensor bottleneck_;                                    // [inner, in, 1]
  at::Tensor local_;                                         // [growth, inner, 3]
  at::Tensor squeeze_, squeeze_bias_, expand_, expand_bias_; // [inner / 2, inner, 1], …, [growth, inner / 2, 1], …
};

class SpeakerEncoder {
public:
  /// @param weights the dictionary at "speaker_encoder." of s3gen.safetensors.
  SpeakerEncoder(const VoiceModulesConfig& config, const StateDict& weights);

  /// @param samples [n] at 16 kHz, n >= 720 (three frames). @return [embedding_size], not normalised
  [[nodiscard]] at::Tensor embed(const at::Tensor& samples) const;

  /// @param banks [frames, 80] from kaldi_filter_banks(), the mean over the clip subtracted; at least three frames.
  /// @param probe sees "head" [1, 10 fcm_channels, frames], "tdnn" and "block1", "block2", "block3" [1, channels,
  /// frames / 2]. @return [embedding_size]
  [[nodiscard]] at::Tensor forward(const at::Tensor& banks, const Probe& probe = {}) const;

private:
  struct DenseBlock {
    std::vector<ContextLayer> layers;
    BatchNorm norm;        // of what leaves the block
    at::Tensor transition; // [channels / 2, channels, 1]
  };
  [[nodiscard]] at::Tensor head(const at::Tensor& banks) const;

  at::Tensor head_conv1_, head_conv2_; // [c, 1, 3, 3], [c, c, 3, 3]
  BatchNorm head_norm1_, head_norm2_;
  std::vector<ResidualBlock2d> head_blocks_;
  at::Tensor tdnn_; // [init_channels, 10 c, 5]
  BatchNorm tdnn_norm_;
  std::vector<DenseBlock> blocks_;
  std::optional<BatchNorm> out_norm_;
  at::Tensor dense_; // [embedding_size, 2 channels, 1]
  BatchNorm dense_norm_;
};

} // namespace audiobookd::engine::chatterbox
