// The vocoder's excitation: sines at the harmonics of F0 where there is voice, noise where there is none (the source of
// the neural source-filter model, Wang et al. 2019). Immutable once built; any thread. One utterance at a time.
#pragma once

#include "engine/layers/linear.h"
#include "engine/models/chatterbox/config.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::chatterbox {

class HarmonicSource {
public:
  /// @param weights the dictionary at "mel2wav.m_source.". @param samples_per_frame how often a value of F0 is
  /// repeated.
  HarmonicSource(const HiftConfig& config, const StateDict& weights, std::int64_t samples_per_frame);

  /// The fundamental and its overtones.
  [[nodiscard]] std::int64_t num_harmonics() const noexcept { return num_harmonics_; }

  /// From the harmonics to one signal, weight [1, num_harmonics].
  [[nodiscard]] const Linear& merge() const noexcept { return merge_; }

  /// @param f0 [frames] Hz; 10 Hz and less means unvoiced.
  /// @param phase [num_harmonics] initial phases in [-pi, pi); the fundamental's is taken as 0.
  /// @param noise [num_harmonics, frames * samples_per_frame] standard normal.
  /// @return [frames * samples_per_frame]
  [[nodiscard]] at::Tensor operator()(const at::Tensor& f0, const at::Tensor& phase, const at::Tensor& noise) const;

private:
  [[nodiscard]] at::Tensor angles(const at::Tensor& f0) const;

  std::int64_t num_harmonics_;
  std::int64_t samples_per_frame_;
  Linear merge_;
};

} // namespace audiobookd::engine::chatterbox
