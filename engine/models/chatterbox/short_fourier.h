// The vocoder's short-time Fourier transform and its inverse, written as products with a small basis: frames of 16
// samples every 4 are too short for an FFT to pay. Centred, periodic Hann window.
//
// Immutable once built; any thread may call it. One utterance at a time: both borders belong to it.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::chatterbox {

class ShortFourier {
public:
  /// @param n_fft even. @param hop a divisor of n_fft.
  ShortFourier(std::int64_t n_fft, std::int64_t hop, at::Device device);

  /// @param signal [samples], more than n_fft / 2, reflected at both ends.
  /// @return [n_fft + 2, samples / hop + 1], the real parts of the n_fft / 2 + 1 bins, then the imaginary parts
  [[nodiscard]] at::Tensor analyse(const at::Tensor& signal) const;

  /// The least-squares inverse (Griffin and Lim 1984). @param real, imaginary [n_fft / 2 + 1, frames].
  /// @return [(frames - 1) * hop]
  [[nodiscard]] at::Tensor synthesise(const at::Tensor& real, const at::Tensor& imaginary) const;

  /// Periodic Hann, [n_fft].
  [[nodiscard]] const at::Tensor& window() const noexcept { return window_; }
  /// What a frame is multiplied with, and what a spectrum is multiplied with; both [n_fft + 2, n_fft].
  [[nodiscard]] const at::Tensor& analysis_basis() const noexcept { return analysis_basis_; }
  [[nodiscard]] const at::Tensor& synthesis_basis() const noexcept { return synthesis_basis_; }

private:
  [[nodiscard]] at::Tensor overlap_add(const at::Tensor& frames) const;

  std::int64_t n_fft_;
  std::int64_t hop_;
  at::Tensor window_;          // [n_fft]
  at::Tensor analysis_basis_;  // [n_fft + 2, n_fft], windowed cosines, then minus sines
  at::Tensor synthesis_basis_; // [n_fft + 2, n_fft], the inverse transform of each part, windowed
};

} // namespace audiobookd::engine::chatterbox
