// 1-D convolution over packed rows, channels last, as one matrix product over windows of rows.
// Immutable once built; any thread may call it.
#pragma once

#include "engine/layers/packed_rows.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <string>

namespace audiobookd::engine {

/// Row n of the result is made from rows n + first_tap … n + first_tap + num_taps - 1 of its own sequence, zeros beyond
/// its ends: first_tap = 1 - num_taps is a causal convolution, first_tap = 0 looks ahead only.
class WindowConv {
public:
  /// Takes `name.weight` [out, in, num_taps] and `name.bias` [out].
  /// @param first_tap at most 0, and at least 1 - num_taps.
  WindowConv(const StateDict& weights, const std::string& name, std::int64_t in, std::int64_t out,
             std::int64_t num_taps, std::int64_t first_tap);

  /// The mask that operator() wants for @p rows: made once, used by every convolution of this shape.
  [[nodiscard]] at::Tensor mask(const PackedRows& rows) const { return rows.window_mask(first_tap_, num_taps_); }

  /// @param x [batch, rows, in] contiguous; every batch entry has the same row layout. @param mask from mask().
  /// @return [batch, rows, out]
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask) const;

  /// Rows n + first_tap() … n + first_tap() + num_taps() - 1 make row n.
  [[nodiscard]] std::int64_t first_tap() const noexcept { return first_tap_; }
  [[nodiscard]] std::int64_t num_taps() const noexcept { return num_taps_; }
  /// [out, num_taps * in], the taps in the order of their rows.
  [[nodiscard]] const at::Tensor& weight() const noexcept { return weight_; }
  [[nodiscard]] const at::Tensor& bias() const noexcept { return bias_; }

private:
  std::int64_t num_taps_;
  std::int64_t first_tap_;
  at::Tensor weight_; // [out, num_taps * in]
  at::Tensor bias_;   // [out]
};

} // namespace audiobookd::engine
