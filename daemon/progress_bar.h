// How far a rendering is, for a person at a terminal: one line that is drawn again and again, or, where the output is
// a file or a pipe, a line for every tenth.
//
// One thread at a time per bar.
#pragma once

#include "daemon/eta.h"

#include <chrono>
#include <cstddef>
#include <iosfwd>
#include <string>

namespace audiobookd::daemon {

class ProgressBar {
public:
  using Clock = std::chrono::steady_clock;

  ProgressBar(std::ostream& out, bool is_terminal, Clock::time_point start)
      : out_(out), is_terminal_(is_terminal), start_(start) {}

  /// @param fraction in [0, 1]. @param audio_seconds written so far.
  void show(double fraction, double audio_seconds, Clock::time_point now);
  /// Leaves the line.
  void finish();

private:
  std::ostream& out_;
  const bool is_terminal_;
  const Clock::time_point start_;
  Eta eta_;
  int shown_tenths_ = -1;
  bool line_is_open_ = false;
};

/// "[####......]" of a fraction. @param width between the brackets, in characters.
[[nodiscard]] std::string draw_bar(double fraction, std::size_t width);

/// "1:02:03" or "2:03".
[[nodiscard]] std::string format_duration(double seconds);

} // namespace audiobookd::daemon
