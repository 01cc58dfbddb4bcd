// Conditional flow matching: from noise to a mel spectrogram in a few Euler steps with classifier-free guidance
// (Lipman et al. 2023; guidance after Ho and Salimans 2022; CosyVoice's cosine schedule).
//
// Immutable once built; any thread may call it.
#pragma once

#include "engine/layers/linear.h"
#include "engine/layers/packed_rows.h"
#include "engine/layers/probe.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/flow_estimator.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::chatterbox {

/// How far a step goes beyond the conditional direction: (1 + w) conditional - w unconditional.
inline constexpr double flow_guidance = 0.7;

/// 1 - cos(pi/2 k/num_steps) for k = 0 … num_steps: small steps first. @return [num_steps + 1] fp32 on the CPU
[[nodiscard]] at::Tensor cosine_schedule(int num_steps);

/// The conditions of a packed batch; one row per mel frame, the voice prompt's frames before each utterance's own.
struct FlowConditions {
  at::Tensor mu;         // [frames, mel_channels]
  at::Tensor speaker;    // [frames, mel_channels], speaker_projection() repeated over each utterance's frames
  at::Tensor prompt_mel; // [frames, mel_channels], zero where there is nothing to continue from
};

/// Integrates the flow of packed utterances.
class FlowSolver {
public:
  FlowSolver() = default;
  virtual ~FlowSolver() = default;
  FlowSolver(const FlowSolver&) = delete;
  FlowSolver& operator=(const FlowSolver&) = delete;

  /// Integrates from @p noise to the mel spectrogram; no synchronisation with the device between steps.
  /// @param noise [frames, mel_channels] standard normal. @param num_steps at least 1.
  /// @param probe sees x_after_step1, x_after_step2, …
  /// @return [frames, mel_channels] natural-log mel, prompt frames included
  [[nodiscard]] virtual at::Tensor solve(const at::Tensor& noise, const FlowConditions& conditions,
                                         const PackedRows& frames, int num_steps, const Probe& probe) const = 0;
};

/// The exact solver, fp32 through ATen, on any device.
class CfmDecoder final : public FlowSolver {
public:
  /// @param weights the dictionary at "flow.".
  CfmDecoder(const FlowConfig& config, const StateDict& weights);

  /// @param embeddings [n, 192] x-vectors, not normalised. @return [n, mel_channels]
  [[nodiscard]] at::Tensor speaker_projection(const at::Tensor& embeddings) const;

  /// The estimator's answer for the conditional and the unconditional row, [2, frames, mel_channels].
  /// @param x [frames, mel_channels]. @param time [1] fp32.
  [[nodiscard]] at::Tensor guided_pair(const at::Tensor& x, const FlowConditions& conditions, const at::Tensor& time,
                                       const PackedRows& frames, const Probe& probe = {}) const;

  /// (1 + w) conditional - w unconditional. @param pair [2, frames, mel_channels]. @return [frames, mel_channels]
  [[nodiscard]] static at::Tensor guide(const at::Tensor& pair);

  [[nodiscard]] at::Tensor solve(const at::Tensor& noise, const FlowConditions& conditions, const PackedRows& frames,
                                 int num_steps, const Probe& probe) const override;

  [[nodiscard]] const FlowEstimator& estimator() const noexcept { return estimator_; }

private:
  [[nodiscard]] at::Tensor make_input(const FlowConditions& conditions) const;

  std::int64_t mel_channels_;
  Linear speaker_projection_;
  FlowEstimator estimator_;
};

} // namespace audiobookd::engine::chatterbox
