// Mel spectrogram to waveform: F0 predictor, harmonic source, upsampling by 120 with Snake residual blocks, inverse
// short-time Fourier transform (HiFTNet, Li et al. 2023, built on HiFi-GAN, Kong et al. 2020).
//
// Immutable once built; any thread may call it. The convolutions run over padded batches and mask every result, so an
// utterance's samples do not depend on its company; source and Fourier transforms run at each utterance's own length.
#pragma once

#include "engine/layers/linear.h"
#include "engine/layers/masked_conv1d.h"
#include "engine/layers/probe.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/harmonic_source.h"
#include "engine/models/chatterbox/short_fourier.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <span>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// One utterance for the vocoder.
struct VocoderInput {
  at::Tensor mel;   // [mel_channels, frames] natural-log mel
  at::Tensor phase; // [harmonics + 1] initial phases in [-pi, pi)
  at::Tensor noise; // [harmonics + 1, frames * samples_per_frame] standard normal
};

/// Turns mel spectrograms into waveforms.
class Vocoder {
public:
  Vocoder() = default;
  virtual ~Vocoder() = default;
  Vocoder(const Vocoder&) = delete;
  Vocoder& operator=(const Vocoder&) = delete;

  /// Renders utterances of any lengths together.
  /// @param probe sees f0 [frames] and source [samples] of each utterance.
  /// @return for each utterance [frames * samples_per_frame], clamped to +-0.99
  [[nodiscard]] virtual std::vector<at::Tensor> render(std::span<const VocoderInput> inputs,
                                                       const Probe& probe) const = 0;
};

/// The exact vocoder, fp32 through ATen, on any device.
class Hift final : public Vocoder {
public:
  /// Three pairs of dilated and plain convolutions around Snake activations, each with a residual.
  struct ResidualBlock {
    ResidualBlock(const StateDict& weights, std::int64_t channels, std::int64_t kernel, std::span<const int> dilations);
    [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask) const;
    struct Snake {
      Snake(const StateDict& weights, const std::string& name, std::int64_t channels);
      /// x + sin^2(alpha x) / alpha (Ziyin et al. 2020); zero stays zero.
      [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const;
      at::Tensor alpha;   // [channels, 1]
      at::Tensor inverse; // [channels, 1], 1 / (alpha + 1e-9)
    };
    struct Layer {
      Snake snake1;
      MaskedConv1d dilated;
      Snake snake2;
      MaskedConv1d plain;
    };
    std::vector<Layer> layers;
  };

  /// Upsampling, fusion with the source, residual blocks side by side.
  struct Stage {
    std::int64_t rate; // samples of this stage per mel frame
    MaskedConvTranspose1d up;
    MaskedConv1d source_down;
    ResidualBlock source_residual;
    std::vector<ResidualBlock> residuals;
  };

  /// @param weights the dictionary at "mel2wav.".
  Hift(const HiftConfig& config, std::int64_t mel_channels, const StateDict& weights);

  /// 480: the upsampling rates times the hop of the inverse transform.
  [[nodiscard]] std::int64_t samples_per_frame() const noexcept { return samples_per_frame_; }
  /// The F0 predictor: convolutions of three taps, an ELU after each, and the linear layer whose absolute value is F0.
  /// In double: the source's phase adds up F0's error over the utterance, and that of sums in fp32, which differs
  /// between orders of summation, can be heard in the harmonics after some seconds.
  [[nodiscard]] const std::vector<MaskedConv1d>& f0_convs() const noexcept { return f0_convs_; }
  [[nodiscard]] const Linear& f0_out() const noexcept { return f0_out_; }
  [[nodiscard]] const HarmonicSource& source() const noexcept { return source_; }
  [[nodiscard]] const ShortFourier& fourier() const noexcept { return fourier_; }
  [[nodiscard]] const MaskedConv1d& conv_pre() const noexcept { return conv_pre_; }
  [[nodiscard]] const std::vector<Stage>& stages() const noexcept { return stages_; }
  [[nodiscard]] const MaskedConv1d& conv_post() const noexcept { return conv_post_; }

  /// @param probe sees what decode() shows, too.
  [[nodiscard]] std::vector<at::Tensor> render(std::span<const VocoderInput> inputs, const Probe& probe) const override;

  /// @param mel [batch, mel_channels, longest], zero in the padding. @param lengths frames of each.
  /// @return F0 in Hz, [batch, longest], meaningless in the padding
  [[nodiscard]] at::Tensor predict_f0(const at::Tensor& mel, std::span<const std::int64_t> lengths) const;

  /// From mel and source to samples. @param mel, lengths as in predict_f0(). @param sources [samples] of each.
  /// @param probe sees source_stft, conv_pre, up0 …, source_down0 …, source_res0 …, res0, conv_post [batch, channels,
  /// time], and magnitude and spec_phase [bins, time] of each utterance.
  [[nodiscard]] std::vector<at::Tensor> decode(const at::Tensor& mel, std::span<const std::int64_t> lengths,
                                               std::span<const at::Tensor> sources, const Probe& probe = {}) const;

private:
  void add_stages(const HiftConfig& config, const StateDict& weights);
  [[nodiscard]] at::Tensor run(std::size_t stage, const at::Tensor& x, const at::Tensor& source_spectrum,
                               std::span<const std::int64_t> lengths, const Probe& probe) const;
  [[nodiscard]] at::Tensor to_samples(const at::Tensor& spectrum, const Probe& probe) const;

  std::int64_t samples_per_frame_;
  std::vector<MaskedConv1d> f0_convs_;
  Linear f0_out_;
  HarmonicSource source_;
  ShortFourier fourier_;
  MaskedConv1d conv_pre_;
  std::vector<Stage> stages_;
  MaskedConv1d conv_post_;
};

} // namespace audiobookd::engine::chatterbox
