// A program that a benchmark starts and that never outlives it. One thread.
#pragma once

#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace audiobookd::bench {

class ChildProcess {
public:
  /// Starts @p words[0], looked up in PATH unless it has a slash. @param log receives what it prints.
  /// The kernel kills it should the calling thread end in whatever way.
  /// @throws std::system_error when no process can be made; a program that is missing ends with status 127.
  ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& log);
  /// Tells it to stop (SIGTERM), then kills it if it does not within ten seconds.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  [[nodiscard]] bool is_running();
  /// User and system seconds of its threads so far. @throws std::runtime_error when it is gone.
  [[nodiscard]] double cpu_seconds() const;
  /// Most memory it had in use. @throws std::runtime_error when it is gone.
  [[nodiscard]] double peak_rss_bytes() const;

private:
  pid_t pid_ = -1; // -1: over and waited for
};

} // namespace audiobookd::bench
