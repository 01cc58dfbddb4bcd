// See ctl_fixture.h.
#include "tests/daemon/ctl/ctl_fixture.h"

#include "daemon/ctl/exit_status.h"
#include "daemon/ctl/queue_commands.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace audiobookd::daemon::testing {
namespace {

[[noreturn]] void execute(std::vector<std::string> words, const std::map<std::string, std::string>& environment,
                          const std::filesystem::path& folder) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const auto& [name, value] : environment) {
    value.empty() ? unsetenv(name.c_str()) : setenv(name.c_str(), value.c_str(), 1);
  }
  const auto put = [&](const char* name, int target) {
    const int file = open((folder / name).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0 || dup2(file, target) < 0) {
      _exit(127);
    }
  };
  put("out", STDOUT_FILENO);
  put("err", STDERR_FILENO);
  words.insert(words.begin(), AUDIOBOOKCTL_PROGRAM);
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

} // namespace

Ran run_ctl(const std::vector<std::string>& words, const std::string& in, std::size_t columns) {
  std::istringstream input(in);
  std::ostringstream out, err;
  CLI::App app("", "audiobookctl");
  app.require_subcommand(1);
  QueueCommands commands({input, out, err, columns});
  commands.describe(app);
  const ExitStatus status = run_guarded(
      [&] {
        try {
          app.parse(std::vector<std::string>(words.rbegin(), words.rend())); // CLI11 takes them from the back
        } catch (const CLI::ParseError& error) {
          return app.exit(error, out, err) == 0 ? ExitStatus::done : ExitStatus::wrong_usage;
        }
        return commands.run().value();
      },
      err);
  return {static_cast<int>(status), out.str(), err.str()};
}

CtlProcess::CtlProcess(std::vector<std::string> words, const std::map<std::string, std::string>& environment)
    : pid_(fork()) {
  if (pid_ == 0) {
    execute(std::move(words), environment, folder_.path());
  }
}

CtlProcess::~CtlProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

std::string CtlProcess::out() const {
  const auto file = folder_.path() / "out";
  return std::filesystem::exists(file) ? read_file(file) : std::string();
}

bool CtlProcess::prints(const std::string& text) const {
  return jobs::eventually([&] { return out().find(text) != std::string::npos; });
}

Ran CtlProcess::wait() {
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), out(), read_file(folder_.path() / "err")};
}

Upkeep::Upkeep(jobs::RedisQueue& worker)
    : thread_([&worker](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          worker.announce(R"({"host":"here","pid":1,"model":"none","device":"cpu","jobs":0,"max_jobs":8})");
          worker.intake();
          worker.poll_control();
          worker.wait_for_work(std::chrono::milliseconds(20));
        }
      }) {}

void CtlFixture::add_dead_job(jobs::RedisQueue& worker, const std::string& id, const std::string& error) {
  add_job("normal", id);
  worker.intake();
  const auto claimed = worker.claim();
  ASSERT_TRUE(claimed.has_value());
  ASSERT_EQ(claimed->lease.id, id);
  ASSERT_EQ(worker.fail(claimed->lease, error, jobs::FailureKind::permanent), jobs::FailureOutcome::dead);
}

} // namespace audiobookd::daemon::testing
