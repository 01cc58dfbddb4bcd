// Running, stopping and failing.
#include "daemon/engine_thread.h"

#include <spdlog/spdlog.h>
#include <string>
#include <utility>

namespace audiobookd::daemon {

EngineThread::EngineThread(Renderer& renderer, UtterancePool& pool, std::function<void()> on_end)
    : renderer_(renderer), pool_(pool), thread_([this, on_end = std::move(on_end)] { run(on_end); }) {}

EngineThread::~EngineThread() { stop(); }

void EngineThread::stop() {
  pool_.stop_offering();
  stop_.request_stop();
  renderer_.notify();
}

void EngineThread::rethrow_failure() const {
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

void EngineThread::run(const std::function<void()>& on_end) {
  std::string why;
  try {
    renderer_.run(pool_, pool_, stop_.get_token());
  } catch (const std::exception& error) {
    spdlog::critical("the engine failed: {}", error.what());
    failure_ = std::current_exception();
    why = error.what();
  }
  pool_.end(why);
  ended_ = true;
  on_end();
}

} // namespace audiobookd::daemon
