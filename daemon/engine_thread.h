// The thread that runs the engine on an utterance pool until it is told to stop or its device fails.
//
// All functions may be called from any thread.
#pragma once

#include "daemon/renderer.h"
#include "daemon/utterance_pool.h"

#include <atomic>
#include <exception>
#include <functional>
#include <stop_token>
#include <thread>

namespace audiobookd::daemon {

class EngineThread {
public:
  /// Starts at once. @param on_end called on the thread when the engine has returned, the pool has ended and
  /// has_ended() is true; must not throw.
  EngineThread(Renderer& renderer, UtterancePool& pool, std::function<void()> on_end);
  /// Stops and waits.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  /// Nothing more is begun; what is in flight is finished, unless the pool withdraws it.
  void stop();
  [[nodiscard]] bool has_ended() const noexcept { return ended_; }
  /// Whether it ended because the device failed.
  [[nodiscard]] bool has_failed() const noexcept { return ended_ && failure_; }
  /// Throws what the device failed with, if it did. Call after it has ended.
  void rethrow_failure() const;

private:
  void run(const std::function<void()>& on_end);

  Renderer& renderer_;
  UtterancePool& pool_;
  std::stop_source stop_;
  std::exception_ptr failure_; // written before ended_
  std::atomic<bool> ended_{false};
  std::jthread thread_; // last: uses everything above
};

} // namespace audiobookd::daemon
