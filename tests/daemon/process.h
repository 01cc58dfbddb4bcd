// A run of the real program, as a user or a service manager starts it. One thread at a time per process.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace audiobookd::daemon::testing {

/// Killed when forgotten, and when the test dies.
class Process {
public:
  /// Starts @p program.
  Process(const std::filesystem::path& program, const std::vector<std::string>& arguments,
          const std::map<std::string, std::string>& environment, const std::filesystem::path& log);
  /// Starts the program of the project. @param environment is set in addition. @param log receives what it prints,
  /// appended.
  Process(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
          const std::filesystem::path& log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  /// Whether its main thread holds signal @p number back, as it does when another of its threads waits for it.
  [[nodiscard]] bool blocks(int number) const { return has_in_mask("SigBlk", number); }
  /// Whether @p number was sent to it and not taken yet.
  [[nodiscard]] bool is_pending(int number) const { return has_in_mask("ShdPnd", number); }
  /// Waits for the end. @return the exit status, or minus the signal that ended it.
  int wait();
  /// Sends a signal and waits for the end, as wait().
  int end(int number);
  /// Whether it has not ended yet; wait() gives its status afterwards all the same.
  [[nodiscard]] bool is_running() const;

private:
  [[nodiscard]] bool has_in_mask(const std::string& mask, int number) const;

  pid_t pid_;
};

/// The tiny synthetic checkpoint, made once and removed at the end: for what is to be quick and need not be speech.
[[nodiscard]] const std::filesystem::path& tiny_checkpoint();

} // namespace audiobookd::daemon::testing
