// Sequences of different lengths laid one after another in the rows of one tensor.
//
// Nothing is padded: row-wise layers see real rows only, attention runs over each sequence's own slice, and a
// convolution must not look across a boundary (window_mask()). Immutable; any thread may read it.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

namespace audiobookd::engine {

class PackedRows {
public:
  /// @throws std::invalid_argument when there is no sequence or one is empty.
  PackedRows(std::vector<std::int64_t> lengths, at::Device device);

  [[nodiscard]] std::int64_t count() const noexcept { return static_cast<std::int64_t>(lengths_.size()); }
  /// Rows of all sequences together.
  [[nodiscard]] std::int64_t total() const noexcept { return total_; }
  [[nodiscard]] std::int64_t longest() const noexcept;
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const { return lengths_.at(sequence); }
  /// First row of @p sequence.
  [[nodiscard]] std::int64_t start(std::int64_t sequence) const { return starts_.at(sequence); }

  /// The same sequences with every row repeated @p factor times.
  [[nodiscard]] PackedRows stretched(std::int64_t factor) const;

  /// For a convolution that reads rows n + first_tap … n + first_tap + num_taps - 1 to make row n: 1 where such a row
  /// belongs to n's sequence, 0 where it does not. @return [total, num_taps, 1] fp32 on the device
  [[nodiscard]] at::Tensor window_mask(std::int64_t first_tap, std::int64_t num_taps) const;

private:
  std::vector<std::int64_t> lengths_;
  std::vector<std::int64_t> starts_;
  std::int64_t total_ = 0;
  at::Device device_;
};

} // namespace audiobookd::engine
