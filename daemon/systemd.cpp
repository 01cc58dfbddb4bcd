// The notification protocol through libsystemd.
#include "daemon/systemd.h"

#include <algorithm>
#include <stop_token>
#include <systemd/sd-daemon.h>

namespace audiobookd::daemon {
namespace {

constexpr std::chrono::seconds extension{60};
constexpr std::chrono::seconds extension_period{15};

} // namespace

void Systemd::ready() { sd_notify(0, "READY=1"); }

void Systemd::stopping() { sd_notify(0, "STOPPING=1"); }

void Systemd::status(const std::string& text) { sd_notify(0, ("STATUS=" + text).c_str()); }

void Systemd::feed_watchdog() { sd_notify(0, "WATCHDOG=1"); }

void Systemd::extend_timeout(std::chrono::seconds time) {
  const auto microseconds = std::chrono::microseconds(time).count();
  sd_notify(0, ("EXTEND_TIMEOUT_USEC=" + std::to_string(microseconds)).c_str());
}

TimeoutExtender::TimeoutExtender(ServiceManager& manager)
    : thread_([this, &manager](std::stop_token stop) {
        std::unique_lock lock(mutex_);
        while (!stop.stop_requested()) {
          manager.extend_timeout(extension);
          wake_.wait_for(lock, stop, extension_period, [] { return false; });
        }
      }) {}

bool ProgressWatch::is_alive(std::size_t in_flight, std::uint64_t advances, Clock::time_point now) {
  if (in_flight == 0 || last_change_ == Clock::time_point{}) { // nothing was seen before the first look
    last_advances_ = advances;
    last_change_ = now;
    return true;
  }
  const Clock::duration standstill = now - last_change_;
  if (advances != last_advances_) {
    longest_standstill_ = std::max(longest_standstill_, standstill);
    last_advances_ = advances;
    last_change_ = now;
    return true;
  }
  return standstill <= std::max(patience_, 10 * longest_standstill_);
}

} // namespace audiobookd::daemon
