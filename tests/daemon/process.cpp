// fork and execve.
#include "tests/daemon/process.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::daemon::testing {
namespace {

/// Becomes the program.
[[noreturn]] void execute(const std::string& program, std::vector<std::string> words,
                          const std::map<std::string, std::string>& environment, const std::filesystem::path& log) {
  sigset_t none; // a thread of the test may hold signals back
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const auto& [name, value] : environment) {
    setenv(name.c_str(), value.c_str(), 1);
  }
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file < 0 || dup2(file, STDOUT_FILENO) < 0 || dup2(file, STDERR_FILENO) < 0) {
    _exit(127);
  }
  words.insert(words.begin(), program);
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

} // namespace

Process::Process(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                 const std::map<std::string, std::string>& environment, const std::filesystem::path& log)
    : pid_(fork()) {
  if (pid_ == 0) {
    execute(program.string(), arguments, environment, log);
  }
}

Process::Process(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
                 const std::filesystem::path& log)
    : Process(AUDIOBOOKD_PROGRAM, arguments, environment, log) {}

Process::~Process() {
  if (pid_ > 0) {
    end(SIGKILL);
  }
}

void Process::signal(int number) const { kill(pid_, number); }

/// Of those in proc(5), status. No signal is in those of a process that has ended.
bool Process::has_in_mask(const std::string& mask, int number) const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(mask + ":")) {
      return (std::stoull(line.substr(mask.size() + 1), nullptr, 16) >> (number - 1) & 1) != 0;
    }
  }
  return false;
}

int Process::wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool Process::is_running() const {
  siginfo_t ended{};
  return pid_ > 0 && waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         ended.si_pid == 0;
}

int Process::end(int number) {
  signal(number);
  return wait();
}

} // namespace audiobookd::daemon::testing
