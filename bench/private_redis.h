// A redis-server of a benchmark's own in a folder of its own, and runs that end cleanly when they are interrupted. One
// thread, but for check_interrupt().
#pragma once

#include "bench/child_process.h"
#include "jobs/redis_connection.h"

#include <filesystem>
#include <string>

namespace audiobookd::bench {

/// From now on Ctrl-C and a polite kill end the run through its destructors, where check_interrupt() is called.
void end_on_signals();
/// @throws std::runtime_error when the run was interrupted.
void check_interrupt();

/// The end of a program's log, for messages. Empty when there is none.
[[nodiscard]] std::string end_of_file(const std::filesystem::path& log);

/// Removed with everything in it.
class TempFolder {
public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// As the protocol recommends it: an append-only file that is synced every second, nothing is evicted.
class PrivateRedis {
public:
  /// Starts the server and waits until it answers. @throws std::runtime_error with its log when it does not.
  explicit PrivateRedis(const std::filesystem::path& folder);
  [[nodiscard]] std::string url() const { return "unix://" + socket_; }
  [[nodiscard]] jobs::RedisConnection& connection() { return connection_; }
  [[nodiscard]] double cpu_seconds() const { return server_.cpu_seconds(); }

private:
  bool answers();

  std::filesystem::path log_;
  std::string socket_;
  ChildProcess server_;
  jobs::RedisConnection connection_;
};

} // namespace audiobookd::bench
