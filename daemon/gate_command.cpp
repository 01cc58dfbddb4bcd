// One process: a file in memory to read, two pipes to listen to, and a descriptor that tells of its end.
#include "daemon/gate_command.h"

#include "daemon/errors.h"
#include "storage/errors.h"
#include "storage/file_descriptor.h"
#include "storage/wav_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <span>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::daemon {
namespace {

using Clock = std::chrono::steady_clock;
using storage::FileDescriptor;

constexpr std::size_t max_answer_bytes = 64 << 10;
constexpr std::size_t max_complaint_bytes = 400;

[[noreturn]] void fail(const std::string& what, int error_number) {
  throw std::runtime_error(what + ": " + std::strerror(error_number));
}

/// A folder for one file, gone with it.
class ScratchFolder {
public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "audiobookd-gate-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      fail("cannot make the folder " + pattern, errno);
    }
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored; // a file of a few hundred kilobytes stays
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

private:
  std::filesystem::path path_;
};

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      fail("cannot make a pipe", errno);
    }
    reading = FileDescriptor(ends[0]);
    writing = FileDescriptor(ends[1]);
    ::fcntl(reading.get(), F_SETFL, O_NONBLOCK);
  }
  FileDescriptor reading, writing;
};

FileDescriptor file_of(const std::string& content) {
  FileDescriptor fd(::memfd_create("request", MFD_CLOEXEC));
  if (!fd) {
    fail("cannot make a file in memory", errno);
  }
  storage::write_all(fd.get(), std::as_bytes(std::span(content)), "request");
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

/// Starts the program with the signals of a process that inherited nothing, as the leader of a group.
pid_t start(const std::vector<std::string>& command, int in, int out, int err) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv.front(), &actions, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    fail("cannot be started", error);
  }
  return pid;
}

/// The program while it runs. Killed with its group when this goes away.
class Listener {
public:
  Listener(const std::vector<std::string>& command, const std::string& request)
      : pid_(start(command, file_of(request).get(), out_.writing.get(), err_.writing.get())),
        end_(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))) {
    out_.writing = FileDescriptor();
    err_.writing = FileDescriptor();
  }
  ~Listener() {
    if (pid_ > 0) {
      (void)reap();
    }
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Reads along until the program has ended. @throws std::runtime_error, Interrupted
  void wait(Clock::time_point deadline, const std::stop_token& stop) {
    const FileDescriptor stopped(::eventfd(0, EFD_CLOEXEC));
    const std::stop_callback tell(stop, [&stopped] { ::eventfd_write(stopped.get(), 1); });
    std::array<pollfd, 4> waits{pollfd{end_.get(), POLLIN, 0}, pollfd{stopped.get(), POLLIN, 0},
                                pollfd{out_.reading.get(), POLLIN, 0}, pollfd{err_.reading.get(), POLLIN, 0}};
    while (waits[0].revents == 0) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) {
        throw std::runtime_error("took too long and was killed");
      }
      if (::poll(waits.data(), waits.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
        fail("cannot be waited for", errno);
      }
      if (waits[1].revents != 0) {
        throw Interrupted();
      }
      read_along(waits[2], answer_, max_answer_bytes);
      read_along(waits[3], complaint_, max_complaint_bytes);
    }
    pollfd rest{out_.reading.get(), POLLIN, POLLIN};
    read_along(rest, answer_, max_answer_bytes);
  }

  /// Kills what is left of the group. @return the status, as waitpid() gives it
  int reap() {
    ::kill(-pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  [[nodiscard]] const std::string& answer() const noexcept { return answer_; }
  [[nodiscard]] const std::string& complaint() const noexcept { return complaint_; }

private:
  /// Appends what there is; what exceeds @p most is dropped. A pipe at its end is polled no more.
  static void read_along(pollfd& pipe, std::string& to, std::size_t most) {
    std::array<char, 4096> buffer;
    while (pipe.fd >= 0 && pipe.revents != 0) {
      const ssize_t got = ::read(pipe.fd, buffer.data(), buffer.size());
      if (got < 0) {
        return; // nothing now
      }
      if (got == 0) {
        pipe.fd = -1;
      }
      to.append(buffer.data(), std::min(static_cast<std::size_t>(got), most - std::min(most, to.size())));
    }
  }

  Pipe out_, err_;
  pid_t pid_;
  FileDescriptor end_;
  std::string answer_, complaint_;
};

double parse_score(const std::string& answer) {
  const auto json = nlohmann::json::parse(answer, nullptr, false);
  const bool has_score = json.is_object() && json.contains("score") && json["score"].is_number();
  const double score = has_score ? json["score"].get<double>() : -1;
  if (!(score >= 0 && score <= 1)) {
    throw std::runtime_error("answered '" + answer.substr(0, max_complaint_bytes) +
                             "' instead of {\"score\": X} with X from 0 to 1");
  }
  return score;
}

void check_status(int status, const std::string& complaint) {
  if (WIFSIGNALED(status)) {
    throw std::runtime_error(fmt::format("was killed by signal {}", WTERMSIG(status)));
  }
  if (WEXITSTATUS(status) != 0) {
    throw std::runtime_error(
        fmt::format("ended with status {}{}", WEXITSTATUS(status), complaint.empty() ? "" : ": " + complaint));
  }
}

} // namespace

double GateCommand::score(const engine::Waveform& waveform, const std::string& text,
                          const std::stop_token& stop) const {
  const auto deadline = Clock::now() + std::chrono::milliseconds(std::llround(1000 * settings_.timeout_s));
  const ScratchFolder folder;
  const std::filesystem::path wav = folder.path() / "utterance.wav";
  storage::write_wav(wav, waveform.sample_rate, waveform.samples);
  const nlohmann::json request = {{"wav", wav.string()},
                                  {"text", text},
                                  {"sample_rate", waveform.sample_rate},
                                  {"seconds", static_cast<double>(waveform.samples.size()) / waveform.sample_rate}};
  try {
    Listener listener(settings_.command, request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    listener.wait(deadline, stop);
    check_status(listener.reap(), listener.complaint());
    return parse_score(listener.answer());
  } catch (const Interrupted&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error("gates.command '" + settings_.command.front() + "' " + error.what());
  }
}

} // namespace audiobookd::daemon
