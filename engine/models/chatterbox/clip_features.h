// What the models hear of a reference clip: mel spectrograms and filter banks of five kinds, resampling, trimming.
//
// Each follows the library that the reference calls (librosa 0.11, torchaudio 2.6), down to where it rounds. One clip
// at a time: floors, means and borders belong to it. Pure functions over fp32 samples on any device; callers hold an
// at::InferenceMode guard.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace audiobookd::engine::chatterbox {

inline constexpr std::int64_t prompt_sample_rate = 24'000;   ///< of the prompt's mel and of everything that is said
inline constexpr std::int64_t features_sample_rate = 16'000; ///< of everything else here

/// Slaney's mel filters from 0 Hz to 8 kHz, area-normalised, as librosa.filters.mel makes them.
/// @return [num_bands, n_fft / 2 + 1] fp32 on the CPU
[[nodiscard]] at::Tensor slaney_filters(std::int64_t sample_rate, std::int64_t n_fft, std::int64_t num_bands);

/// Natural-log mel of S3Gen's prompt: 1920-point Hann frames every 480 samples, 720 samples reflected at both ends (the
/// reference's s3gen/utils/mel.py).
/// @param samples [n], n > 720, at 24 kHz. @return [n / 480, 80]
[[nodiscard]] at::Tensor prompt_mel(const at::Tensor& samples);

/// Log mel of the speech tokenizer, log10 with a floor 8 below the clip's maximum, scaled by (x + 4) / 4.
/// @param samples [n], n > 200, at 16 kHz. @param filters [mels, 201]. @param window [400]. @return [mels, n / 160]
[[nodiscard]] at::Tensor speech_tokenizer_mel(const at::Tensor& samples, const at::Tensor& filters,
                                              const at::Tensor& window);

/// Power mel of the voice encoder, without a logarithm (the reference's voice_encoder/melspec.py).
/// @param samples [n], n > 200, at 16 kHz. @return [1 + n / 160, num_bands]
[[nodiscard]] at::Tensor voice_encoder_mel(const at::Tensor& samples, std::int64_t num_bands);

/// Kaldi's 80 log filter banks without dither (torchaudio.compliance.kaldi.fbank), the mean not subtracted.
/// @param samples [n], n >= 400, at 16 kHz. @return [1 + (n - 400) / 160, 80]
[[nodiscard]] at::Tensor kaldi_filter_banks(const at::Tensor& samples);

/// Samples [first, end) of a clip.
struct SampleRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

/// What is left of a clip without the ends more than 20 dB below its loudest frame (librosa.effects.trim with its
/// default frames). A silent clip stays whole. @param samples [n], n > 0. @return whole hops of 512 samples but at the
/// end
[[nodiscard]] SampleRange without_silent_ends(const at::Tensor& samples);

/// From 24 to 16 kHz by a sinc under a Hann window (torchaudio.transforms.Resample: 6 zero crossings, rolloff 0.99).
/// @param samples [n] at 24 kHz. @return [ceil(2 n / 3)]
[[nodiscard]] at::Tensor windowed_sinc_to_16khz(const at::Tensor& samples);

} // namespace audiobookd::engine::chatterbox
