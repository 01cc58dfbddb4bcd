// sigwait(3) in a thread.
#include "daemon/signals.h"

#include <system_error>
#include <utility>

namespace audiobookd::daemon {

SignalThread::SignalThread(std::initializer_list<int> signals, std::function<void(int)> handler)
    : wake_signal_(*signals.begin()) {
  sigemptyset(&signals_);
  for (const int signal : signals) {
    sigaddset(&signals_, signal);
  }
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals_, nullptr); error != 0) {
    throw std::system_error(error, std::generic_category(), "cannot block signals");
  }
  thread_ = std::thread([this, handle = std::move(handler)] {
    int signal = 0;
    while (sigwait(&signals_, &signal) == 0 && !ending_) {
      handle(signal);
    }
  });
}

SignalThread::~SignalThread() {
  ending_ = true;
  pthread_kill(thread_.native_handle(), wake_signal_);
  thread_.join();
}

} // namespace audiobookd::daemon
