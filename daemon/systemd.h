// What the service manager is told, and when its watchdog is fed. Without systemd everything here does nothing.
//
// Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace audiobookd::daemon {

/// sd_notify(3). A test may stand in one of its own.
class ServiceManager {
public:
  virtual ~ServiceManager() = default;
  virtual void ready() = 0;
  virtual void stopping() = 0;
  /// @param text one line for `systemctl status`.
  virtual void status(const std::string& text) = 0;
  virtual void feed_watchdog() = 0;
  /// Starting or stopping takes @p time more from now.
  virtual void extend_timeout(std::chrono::seconds time) = 0;
};

class Systemd final : public ServiceManager {
public:
  void ready() override;
  void stopping() override;
  void status(const std::string& text) override;
  void feed_watchdog() override;
  void extend_timeout(std::chrono::seconds time) override;
};

/// While it lives, the service manager is asked for more time again and again: for starts that take long.
class TimeoutExtender {
public:
  explicit TimeoutExtender(ServiceManager& manager);

private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_; // last: uses everything above
};

/// Decides whether the watchdog may be fed: always while nothing is in flight, and else as long as something advances.
/// How long a standstill may take is learnt: ten times the longest one that was overcome, but at least @p patience.
/// One thread at a time.
class ProgressWatch {
public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds least_patience{60};

  explicit ProgressWatch(Clock::duration patience = least_patience) : patience_(patience) {}

  /// @param advances any number that changes when work advances.
  [[nodiscard]] bool is_alive(std::size_t in_flight, std::uint64_t advances, Clock::time_point now);

private:
  Clock::duration patience_;
  std::uint64_t last_advances_ = 0;
  Clock::time_point last_change_{};
  Clock::duration longest_standstill_{};
};

} // namespace audiobookd::daemon
