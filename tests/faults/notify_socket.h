// What a service manager would be told: sd_notify(3) on a socket of the test. A thread reads it all the time, because a
// full socket blocks who sends.
//
// Any thread.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace audiobookd::tests {

class NotifySocket {
public:
  explicit NotifySocket(const std::filesystem::path& path);
  ~NotifySocket();
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  [[nodiscard]] std::vector<std::string> messages() const;
  [[nodiscard]] bool has(const std::string& part) const;
  /// How many messages that begin with @p heartbeat came since the last one that begins with @p missed; all of them if
  /// it never came.
  [[nodiscard]] int count_since(const std::string& heartbeat, const std::string& missed) const;

private:
  void read(const std::stop_token& stop);

  int fd_;
  mutable std::mutex mutex_;
  std::vector<std::string> messages_; // protected by mutex_
  std::jthread thread_;               // last: uses everything above
};

} // namespace audiobookd::tests
