// Short-time Fourier transform by matrix products and overlap-add.
#include "engine/models/chatterbox/short_fourier.h"

#include <ATen/ATen.h>
#include <numbers>

namespace audiobookd::engine::chatterbox {

ShortFourier::ShortFourier(std::int64_t n_fft, std::int64_t hop, at::Device device) : n_fft_(n_fft), hop_(hop) {
  const at::Tensor samples = at::arange(n_fft, at::kDouble);
  const at::Tensor bins = at::arange(n_fft / 2 + 1, at::kDouble);
  const at::Tensor angles = bins.unsqueeze(1) * samples * (2 * std::numbers::pi / static_cast<double>(n_fft));
  const at::Tensor window = 0.5 - 0.5 * at::cos(samples * (2 * std::numbers::pi / static_cast<double>(n_fft)));
  const at::Tensor basis = at::cat({at::cos(angles), -at::sin(angles)}) * window;
  // All bins but the first and the last stand for themselves and their mirror image.
  at::Tensor weight = at::full({n_fft / 2 + 1, 1}, 2.0 / static_cast<double>(n_fft), at::kDouble);
  weight[0] /= 2;
  weight[n_fft / 2] /= 2;
  window_ = window.to(device, at::kFloat);
  analysis_basis_ = basis.to(device, at::kFloat);
  synthesis_basis_ = (basis * at::cat({weight, weight})).to(device, at::kFloat);
}

at::Tensor ShortFourier::analyse(const at::Tensor& signal) const {
  const at::Tensor padded = at::reflection_pad1d(signal.unsqueeze(0), {n_fft_ / 2, n_fft_ / 2}).squeeze(0);
  return at::matmul(analysis_basis_, padded.unfold(0, n_fft_, hop_).t());
}

/// @param frames [count, n_fft]. @return [(count - 1) * hop + n_fft]
at::Tensor ShortFourier::overlap_add(const at::Tensor& frames) const {
  const std::int64_t count = frames.size(0);
  const std::int64_t blocks = n_fft_ / hop_;
  at::Tensor sum = at::zeros({count + blocks - 1, hop_}, frames.options());
  for (std::int64_t block = 0; block < blocks; ++block) {
    sum.narrow(0, block, count).add_(frames.narrow(1, block * hop_, hop_));
  }
  return sum.view({-1});
}

at::Tensor ShortFourier::synthesise(const at::Tensor& real, const at::Tensor& imaginary) const {
  const std::int64_t count = real.size(1);
  const at::Tensor signal = overlap_add(at::matmul(at::cat({real, imaginary}).t(), synthesis_basis_));
  const at::Tensor weight = overlap_add(window_.square().expand({count, n_fft_}));
  const std::int64_t length = (count - 1) * hop_;
  return signal.narrow(0, n_fft_ / 2, length) / weight.narrow(0, n_fft_ / 2, length);
}

} // namespace audiobookd::engine::chatterbox
