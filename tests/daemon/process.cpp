// fork and execve; a checkpoint to run with.
#include "tests/daemon/process.h"

#include "engine/models/chatterbox/make_checkpoint.h"
#include "tests/daemon/fakes.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::daemon::testing {
namespace {

/// Becomes the program.
[[noreturn]] void execute(std::vector<std::string> words, const std::map<std::string, std::string>& environment,
                          const std::filesystem::path& log) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const auto& [name, value] : environment) {
    setenv(name.c_str(), value.c_str(), 1);
  }
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file < 0 || dup2(file, STDOUT_FILENO) < 0 || dup2(file, STDERR_FILENO) < 0) {
    _exit(127);
  }
  words.insert(words.begin(), AUDIOBOOKD_PROGRAM);
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

} // namespace

Process::Process(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
                 const std::filesystem::path& log)
    : pid_(fork()) {
  if (pid_ == 0) {
    execute(arguments, environment, log);
  }
}

Process::~Process() {
  if (pid_ > 0) {
    end(SIGKILL);
  }
}

void Process::signal(int number) const { kill(pid_, number); }

int Process::wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int Process::end(int number) {
  signal(number);
  return wait();
}

const std::filesystem::path& tiny_checkpoint() {
  static const TemporaryFolder folder;
  static const std::filesystem::path checkpoint = [] {
    std::filesystem::path path = folder.path() / "tiny";
    engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, path);
    return path;
  }();
  return checkpoint;
}

} // namespace audiobookd::daemon::testing
