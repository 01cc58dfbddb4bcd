// When something will be done, from how fast it went so far. One thread at a time.
#pragma once

#include <chrono>
#include <optional>

namespace audiobookd::daemon {

class Eta {
public:
  using Clock = std::chrono::steady_clock;

  /// Seconds left, given that @p fraction in [0, 1] is done at @p now; nothing until some progress was seen after the
  /// first call. What was done before that call does not count as speed.
  std::optional<double> update(double fraction, Clock::time_point now) {
    if (!first_) {
      first_ = {now, fraction};
    }
    const double gained = fraction - first_->fraction;
    if (gained <= 0) {
      return std::nullopt;
    }
    return std::chrono::duration<double>(now - first_->time).count() * (1 - fraction) / gained;
  }

private:
  struct Sample {
    Clock::time_point time;
    double fraction;
  };
  std::optional<Sample> first_;
};

} // namespace audiobookd::daemon
