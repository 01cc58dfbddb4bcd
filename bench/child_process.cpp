#include "bench/child_process.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace audiobookd::bench {
namespace {

constexpr int patience_ms = 10000;
constexpr int no_program = 127; // as a shell says it

/// Between fork and exec: only what is safe there.
[[noreturn]] void become(char** arguments, const char* log) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file >= 0 && dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0) {
    execvp(arguments[0], arguments);
  }
  _exit(no_program);
}

/// Whether process @p pid ends within @p patience_ms; it is not waited for.
bool ends_soon(pid_t pid) {
  const int handle = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (handle < 0) {
    return false;
  }
  pollfd ended{handle, POLLIN, 0};
  const bool did = poll(&ended, 1, patience_ms) == 1;
  close(handle);
  return did;
}

std::string proc_file(pid_t pid, const char* name) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    throw std::runtime_error(path + " cannot be read: the program ended");
  }
  return text.str();
}

} // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& words, const std::filesystem::path& log) {
  std::vector<std::string> copies = words; // exec wants them writable
  std::vector<char*> arguments;
  for (std::string& word : copies) {
    arguments.push_back(word.data());
  }
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) {
    throw std::system_error(errno, std::generic_category(), "fork");
  }
  if (pid_ == 0) {
    become(arguments.data(), log.c_str());
  }
}

ChildProcess::~ChildProcess() {
  if (!is_running()) {
    return;
  }
  kill(pid_, SIGTERM);
  if (!ends_soon(pid_)) {
    kill(pid_, SIGKILL);
  }
  waitpid(pid_, nullptr, 0);
}

bool ChildProcess::is_running() {
  if (pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == pid_) {
    pid_ = -1;
  }
  return pid_ > 0;
}

double ChildProcess::cpu_seconds() const {
  const std::string stat = proc_file(pid_, "stat");
  std::istringstream fields(stat.substr(stat.rfind(')') + 2)); // the name before it may hold anything
  std::string skipped;
  constexpr int fields_before_utime = 11; // proc(5): state is field 3, utime 14, stime 15
  for (int i = 0; i < fields_before_utime; ++i) {
    fields >> skipped;
  }
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double ChildProcess::peak_rss_bytes() const {
  const std::string status = proc_file(pid_, "status");
  const std::string name = "VmHWM:";
  const std::size_t at = status.find(name);
  if (at == std::string::npos) {
    throw std::runtime_error("no " + name + " of a program that ended");
  }
  return 1024 * std::stod(status.substr(at + name.size()));
}

} // namespace audiobookd::bench
