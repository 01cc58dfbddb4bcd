// The layout of packed sequences and the windows that stay inside them.
#include "engine/layers/packed_rows.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <stdexcept>
#include <string>

namespace audiobookd::engine {

PackedRows::PackedRows(std::vector<std::int64_t> lengths, at::Device device)
    : lengths_(std::move(lengths)), device_(device) {
  if (lengths_.empty()) {
    throw std::invalid_argument("packed rows need at least one sequence, found none");
  }
  for (const std::int64_t length : lengths_) {
    if (length < 1) {
      throw std::invalid_argument("packed sequence " + std::to_string(starts_.size()) +
                                  " needs at least one row, found " + std::to_string(length));
    }
    starts_.push_back(total_);
    total_ += length;
  }
}

std::int64_t PackedRows::longest() const noexcept { return *std::max_element(lengths_.begin(), lengths_.end()); }

PackedRows PackedRows::stretched(std::int64_t factor) const {
  std::vector<std::int64_t> lengths = lengths_;
  for (std::int64_t& length : lengths) {
    length *= factor;
  }
  return {std::move(lengths), device_};
}

at::Tensor PackedRows::window_mask(std::int64_t first_tap, std::int64_t num_taps) const {
  at::Tensor mask = at::ones({total_, num_taps, 1});
  for (std::int64_t sequence = 0; sequence < count(); ++sequence) {
    const at::Tensor own = mask.narrow(0, start(sequence), length(sequence));
    for (std::int64_t tap = 0; tap < num_taps; ++tap) {
      const std::int64_t offset = first_tap + tap;
      const std::int64_t outside = std::min(std::abs(offset), length(sequence));
      own.narrow(0, offset < 0 ? 0 : length(sequence) - outside, outside).select(1, tap).zero_();
    }
  }
  return mask.to(device_);
}

} // namespace audiobookd::engine
