// Drawing a bar with a carriage return and "erase to end of line".
#include "daemon/progress_bar.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <ostream>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t bar_width = 30;

} // namespace

std::string draw_bar(double fraction, std::size_t width) {
  const double inside = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  const auto filled = static_cast<std::size_t>(inside * static_cast<double>(width));
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

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
    out_ << '\r' << draw_bar(fraction, bar_width) << ' ' << numbers << "\x1b[K";
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
