// Signal processing of reference clips in ATen.
#include "engine/models/chatterbox/clip_features.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr double highest_hz = 8000;
constexpr std::int64_t mel_fft = 400; // samples, of the features at 16 kHz
constexpr std::int64_t mel_hop = 160;

// Slaney's mel scale (Auditory Toolbox, 1998): linear up to 1 kHz, logarithmic above.
constexpr double hz_per_mel = 200.0 / 3;
constexpr double knee_hz = 1000;
constexpr double knee_mel = knee_hz / hz_per_mel;
const double log_step = std::log(6.4) / 27;

double slaney_mel(double hz) { return hz < knee_hz ? hz / hz_per_mel : knee_mel + std::log(hz / knee_hz) / log_step; }

/// Triangles over [edges[i], edges[i + 2]] with their top at edges[i + 1]. @param edges [bands + 2].
/// @param bins [n]. @return [bands, n], of the precision that the parameters have
at::Tensor triangles(const at::Tensor& edges, const at::Tensor& bins) {
  const std::int64_t bands = edges.size(0) - 2;
  const at::Tensor left = edges.narrow(0, 0, bands).unsqueeze(1);
  const at::Tensor centre = edges.narrow(0, 1, bands).unsqueeze(1);
  const at::Tensor right = edges.narrow(0, 2, bands).unsqueeze(1);
  const at::Tensor rising = (bins - left) / (centre - left);
  const at::Tensor falling = (right - bins) / (right - centre);
  return at::clamp_min(at::minimum(rising, falling), 0);
}

/// One-sided spectrum, [n_fft / 2 + 1, frames] complex.
at::Tensor spectrum(const at::Tensor& samples, std::int64_t n_fft, std::int64_t hop, const at::Tensor& window,
                    bool centred) {
  return at::stft(samples, n_fft, hop, n_fft, window, centred, "reflect", false, true, true);
}

at::Tensor periodic_hann(std::int64_t size, at::Device device) {
  return at::hann_window(size, at::TensorOptions(at::kFloat).device(device));
}

at::Tensor power_of(const at::Tensor& complex) { return at::view_as_real(complex).square().sum(-1); }

/// Kaldi's triangles on its own mel scale from 20 Hz to 8 kHz, in single precision as torchaudio computes them; the
/// last bin counts for nothing. @return [80, 257] on the CPU
at::Tensor kaldi_triangles() {
  constexpr std::int64_t bands = 80;
  constexpr std::int64_t bins = 256;
  constexpr double bin_hz = static_cast<double>(features_sample_rate) / (2 * bins);
  const auto mel = [](double hz) { return 1127.0 * std::log(1.0 + hz / 700.0); };
  const double low = mel(20);
  const double step = (mel(highest_hz) - low) / (bands + 1);
  const at::Tensor edges = low + at::arange(bands + 2, at::kFloat) * step;
  const at::Tensor bin_mels = 1127.0 * (1.0 + at::arange(bins, at::kFloat) * bin_hz / 700.0).log();
  return at::constant_pad_nd(triangles(edges, bin_mels), {0, 1});
}

} // namespace

at::Tensor slaney_filters(std::int64_t sample_rate, std::int64_t n_fft, std::int64_t num_bands) {
  const at::Tensor mels = at::linspace(0, slaney_mel(highest_hz), num_bands + 2, at::kDouble);
  const at::Tensor edges =
      at::where(mels < knee_mel, mels * hz_per_mel, knee_hz * at::exp(log_step * (mels - knee_mel)));
  const at::Tensor bins = at::arange(n_fft / 2 + 1, at::kDouble) * (static_cast<double>(sample_rate) / n_fft);
  const at::Tensor area = edges.narrow(0, 2, num_bands) - edges.narrow(0, 0, num_bands);
  return (triangles(edges, bins).to(at::kFloat) * (2.0 / area).unsqueeze(1)).to(at::kFloat);
}

at::Tensor prompt_mel(const at::Tensor& samples) {
  constexpr std::int64_t n_fft = 1920;
  constexpr std::int64_t hop = 480;
  constexpr std::int64_t bands = 80;
  constexpr std::int64_t border = (n_fft - hop) / 2;
  const at::Tensor padded = at::reflection_pad1d(samples.unsqueeze(0), {border, border}).squeeze(0);
  const at::Tensor bins = spectrum(padded, n_fft, hop, periodic_hann(n_fft, samples.device()), false);
  const at::Tensor magnitude = at::sqrt(power_of(bins) + 1e-9);
  const at::Tensor filters = slaney_filters(prompt_sample_rate, n_fft, bands).to(samples.device());
  return at::matmul(filters, magnitude).clamp_min(1e-5).log().t();
}

at::Tensor speech_tokenizer_mel(const at::Tensor& samples, const at::Tensor& filters, const at::Tensor& window) {
  const at::Tensor power = power_of(spectrum(samples, mel_fft, mel_hop, window, true));
  const at::Tensor mel = at::matmul(filters, power.narrow(1, 0, power.size(1) - 1)); // without the last frame
  const at::Tensor log = mel.clamp_min(1e-10).log10();
  return (at::maximum(log, log.max() - 8.0) + 4.0) / 4.0;
}

at::Tensor voice_encoder_mel(const at::Tensor& samples, std::int64_t num_bands) {
  const at::Tensor power =
      power_of(spectrum(samples, mel_fft, mel_hop, periodic_hann(mel_fft, samples.device()), true));
  const at::Tensor filters = slaney_filters(features_sample_rate, mel_fft, num_bands).to(samples.device());
  return at::matmul(filters, power).t();
}

at::Tensor kaldi_filter_banks(const at::Tensor& samples) {
  constexpr std::int64_t padded_frame = 512;
  constexpr double preemphasis = 0.97;
  constexpr double povey_exponent = 0.85;
  at::Tensor frames = samples.unfold(0, mel_fft, mel_hop);
  frames = frames - frames.mean(1, true);
  const at::Tensor before = at::cat({frames.narrow(1, 0, 1), frames.narrow(1, 0, mel_fft - 1)}, 1);
  const at::Tensor window = at::hann_window(mel_fft, false, at::TensorOptions(at::kFloat)).pow(povey_exponent);
  const at::Tensor windowed = (frames - preemphasis * before) * window.to(samples.device());
  const at::Tensor power = power_of(at::fft_rfft(windowed, padded_frame));
  const at::Tensor banks = at::matmul(power, kaldi_triangles().to(samples.device()).t());
  return banks.clamp_min(std::numeric_limits<float>::epsilon()).log();
}

SampleRange without_silent_ends(const at::Tensor& samples) {
  constexpr std::int64_t frame = 2048;
  constexpr std::int64_t hop = 512;
  constexpr double least_power = 1e-10; // what is quieter counts as that
  constexpr double range = 0.01;        // 20 dB
  const at::Tensor frames = at::constant_pad_nd(samples, {frame / 2, frame / 2}).unfold(0, frame, hop);
  const at::Tensor power = frames.square().mean(1).clamp_min(least_power).to(at::kCPU, at::kDouble);
  const at::Tensor loud = at::nonzero(power > power.max() * range).flatten();
  return {loud[0].item<std::int64_t>() * hop, std::min(samples.size(0), (loud[-1].item<std::int64_t>() + 1) * hop)};
}

at::Tensor windowed_sinc_to_16khz(const at::Tensor& samples) {
  constexpr std::int64_t down = 3;
  constexpr std::int64_t up = 2;
  constexpr double zero_crossings = 6;
  constexpr double cutoff = 0.99 * up; // of the lower rate, in units of what both rates have in common
  const auto half = static_cast<std::int64_t>(std::ceil(zero_crossings * down / cutoff));
  const at::Tensor phase = at::arange(up, at::kDouble).unsqueeze(1) / static_cast<double>(-up);
  const at::Tensor taps = at::arange(-half, half + down, at::kDouble) / static_cast<double>(down);
  const at::Tensor time = ((phase + taps) * cutoff).clamp(-zero_crossings, zero_crossings);
  const at::Tensor window = at::cos(time * (std::numbers::pi / zero_crossings / 2)).square();
  const at::Tensor kernel = at::sinc(time) * window * (cutoff / down); // [up, taps]
  const at::Tensor padded = at::constant_pad_nd(samples.view({1, 1, -1}), {half, half + down});
  const at::Tensor phases = at::conv1d(padded, kernel.unsqueeze(1).to(samples.device(), at::kFloat), {}, down);
  return phases.squeeze(0).t().flatten().narrow(0, 0, (samples.size(0) * up + down - 1) / down);
}

} // namespace audiobookd::engine::chatterbox
