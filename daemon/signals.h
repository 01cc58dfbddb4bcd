// Signals as calls on a thread of their own.
//
// A SignalThread must be made before any other thread, since it blocks its signals for every thread started later.
#pragma once

#include <atomic>
#include <csignal>
#include <functional>
#include <initializer_list>
#include <thread>

namespace audiobookd::daemon {

class SignalThread {
public:
  /// Calls @p handler with every one of @p signals that arrives, until destroyed; it must not throw.
  /// @throws std::system_error when the system refuses.
  SignalThread(std::initializer_list<int> signals, std::function<void(int)> handler);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

private:
  sigset_t signals_{};
  int wake_signal_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

} // namespace audiobookd::daemon
