// The vocoder in bf16 on a GPU: utterances of different lengths side by side in rows with gaps, channels last.
//
// Weights and activations between convolutions are bf16, sums fp32; F0 and the source's phase are summed in double; the
// source, the last convolution and both Fourier transforms are fp32. Not thread-safe; works on the current stream.
#pragma once

#include "engine/cuda/hift_kernels.h"
#include "engine/models/chatterbox/hift.h"

#include <ATen/core/Tensor.h>
#include <array>
#include <cstdint>
#include <vector>

namespace audiobookd::engine::cuda {

/// Where the utterances of one call lie; see FrameLayout.
class VocoderRows {
public:
  /// @param lengths mel frames of each utterance. @param rates rows a mel frame of every stage; the last stage has one
  /// row more before each utterance.
  VocoderRows(std::vector<int> lengths, const std::vector<std::int64_t>& rates, at::Device device);

  [[nodiscard]] FrameLayout layout() const;
  [[nodiscard]] std::int64_t num_frames() const noexcept { return owners_.size(0); }
  [[nodiscard]] int start(std::size_t utterance) const { return host_starts_[utterance]; }
  [[nodiscard]] int length(std::size_t utterance) const { return host_lengths_[utterance]; }
  /// Of mel frames, and of a stage's rows: 1 where there is an utterance.
  [[nodiscard]] const std::uint8_t* valid_frames() const;
  [[nodiscard]] const std::uint8_t* valid(std::size_t stage) const;
  /// The last stage's rows before each utterance.
  [[nodiscard]] const std::uint8_t* reflected() const;

private:
  std::vector<int> host_starts_;
  std::vector<int> host_lengths_;
  at::Tensor starts_;             // [utterances] int32
  at::Tensor lengths_;            // [utterances] int32
  at::Tensor owners_;             // [frames] int32
  at::Tensor valid_frames_;       // [frames] uint8
  std::vector<at::Tensor> valid_; // of each stage, [rate * frames] uint8
  at::Tensor reflected_;          // [last rate * frames] uint8
};

class CudaHift final : public chatterbox::Vocoder {
public:
  /// Whether this vocoder has the dimensions, and its GPU the instructions, that the kernels are made for.
  [[nodiscard]] static bool suits(const chatterbox::Hift& reference);

  /// Converts the weights of @p reference, which must suit and outlive this.
  explicit CudaHift(const chatterbox::Hift& reference);

  [[nodiscard]] std::vector<at::Tensor> render(std::span<const chatterbox::VocoderInput> inputs,
                                               const Probe& probe) const override;

  /// From mel rows and sources to samples. @param mel fp32 [num_frames, mel_channels], zero in the gaps.
  /// @param source [num_frames * samples_per_frame]. @return the same shape as @p source, undefined in the gaps
  [[nodiscard]] at::Tensor decode(const at::Tensor& mel, const at::Tensor& source, const VocoderRows& rows) const;

  /// Rows a mel frame of every stage.
  [[nodiscard]] const std::vector<std::int64_t>& rates() const noexcept { return rates_; }

private:
  struct Activation {
    at::Tensor alpha, inverse; // fp32 [channels]
    [[nodiscard]] Snake pointers() const;
  };
  struct Layer {
    Activation before;         // of the first convolution; the block's caller applies the first layer's
    at::Tensor dilated, plain; // packed
    at::Tensor dilated_bias, plain_bias;
    Activation between;
    int taps;
    int dilation;
  };
  using Block = std::vector<Layer>;
  struct Stage {
    at::Tensor up, up_bias;                   // bf16 [3 * in, stride * channels], fp32
    at::Tensor source_down, source_down_bias; // bf16 [taps * spectrum_columns, channels], fp32
    std::int64_t source_taps, source_stride, source_padding;
    Block source_block;
    std::array<Block, 3> blocks;
    int channels;
  };
  /// Inputs of the next stage, fp32: the results of three blocks, whose mean it is.
  using Parts = std::array<at::Tensor, 3>;

  [[nodiscard]] static Block convert(const chatterbox::Hift::ResidualBlock& block);
  [[nodiscard]] static Stage convert(const chatterbox::Hift::Stage& stage, std::int64_t mel_rate);
  void run(const Block& block, const at::Tensor& x, const at::Tensor& active, const at::Tensor& out,
           const std::uint8_t* valid) const;
  [[nodiscard]] at::Tensor upsample(const Stage& stage, const Parts& parts) const;
  [[nodiscard]] Parts run(const Stage& stage, const at::Tensor& up, const at::Tensor& source, const std::uint8_t* valid,
                          const std::uint8_t* reflected) const;
  [[nodiscard]] at::Tensor source_windows(const Stage& stage, const at::Tensor& spectrum, std::int64_t rows) const;
  [[nodiscard]] at::Tensor predict_f0(const at::Tensor& mel, const VocoderRows& rows) const;
  [[nodiscard]] at::Tensor make_source(std::span<const chatterbox::VocoderInput> inputs, const at::Tensor& f0,
                                       const VocoderRows& rows) const;

  const chatterbox::Hift& reference_;
  std::vector<std::int64_t> rates_;
  std::vector<at::Tensor> f0_; // double [3 * in, out] of the F0 predictor's convolutions
  at::Tensor pre_, pre_bias_;  // bf16 [7 * mel_channels, channels], fp32
  std::vector<Stage> stages_;
  at::Tensor post_; // of convolve_to_spectra()
};

} // namespace audiobookd::engine::cuda
