// A moment in the work that a thread gives to a device: everything given before is done.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <chrono>
#include <optional>

namespace audiobookd::engine {

/// Movable; any thread may wait for it.
class Moment {
public:
  /// Now, on the current stream of @p device; on the CPU, which works at once, the time of day.
  explicit Moment(at::Device device);

  /// Blocks until the device is there.
  void wait() const;

  /// Seconds on the device from here to @p later, once both have passed.
  [[nodiscard]] double seconds_until(const Moment& later) const;

private:
  std::chrono::steady_clock::time_point time_ = std::chrono::steady_clock::now();
  std::optional<c10::Event> event_;
};

} // namespace audiobookd::engine
