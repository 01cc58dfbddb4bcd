// Drawing a bar with a carriage return and "erase to end of line".
#include "daemon/progress_bar.h"

#include <cmath>
#include <fmt/format.h>
#include <ostream>

namespace audiobookd::daemon {
namespace {

constexpr int bar_width = 30;

} // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<long>(std::lround(seconds));
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

void ProgressBar::show(double fraction, double audio_seconds, Clock::time_point now) {
  const auto eta_s = eta_.update(fraction, now);
  const int tenths = static_cast<int>(fraction * 10);
  if (!is_terminal_ && tenths <= shown_tenths_) {
    return;
  }
  shown_tenths_ = tenths;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const std::string numbers =
      fmt::format("{:3.0f} %  {} elapsed  {:.1f} x real time  {} left", 100 * fraction, format_duration(elapsed),
                  elapsed > 0 ? audio_seconds / elapsed : 0.0, eta_s ? format_duration(*eta_s) : "?");
  if (is_terminal_) {
    const int filled = static_cast<int>(fraction * bar_width);
    out_ << "\r[" << std::string(filled, '#') << std::string(bar_width - filled, '.') << "] " << numbers << "\x1b[K";
    line_is_open_ = true;
  } else {
    out_ << numbers << '\n';
  }
  out_.flush();
}

void ProgressBar::finish() {
  if (line_is_open_) {
    out_ << '\n';
    out_.flush();
    line_is_open_ = false;
  }
}

} // namespace audiobookd::daemon
