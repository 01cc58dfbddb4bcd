// audiobookctl against a redis-server of the test: in this process, or as the real program; and a worker that carries
// out what it is told, without rendering anything.
//
// A test runs on one thread; Upkeep has one of its own.
#pragma once

#include "tests/daemon/fakes.h"
#include "tests/jobs/redis_fixture.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace audiobookd::daemon::testing {

/// What a command did.
struct Ran {
  int status = -1;
  std::string out;
  std::string err;

  [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(out); }
};

/// Runs a command in this process, as the program would. @param columns of the terminal that it thinks it has; 0: none.
Ran run_ctl(const std::vector<std::string>& words, const std::string& in = "", std::size_t columns = 0);

/// A run of the real program, which can be watched. Killed when forgotten.
class CtlProcess {
public:
  /// @param environment is set in addition; a variable with an empty value is unset.
  explicit CtlProcess(std::vector<std::string> words, const std::map<std::string, std::string>& environment = {});
  ~CtlProcess();
  CtlProcess(const CtlProcess&) = delete;
  CtlProcess& operator=(const CtlProcess&) = delete;

  [[nodiscard]] std::string out() const;
  /// Waits until @p text was printed. @return whether it was within the deadline of jobs::eventually().
  [[nodiscard]] bool prints(const std::string& text) const;
  /// Waits for its end.
  Ran wait();

private:
  TemporaryFolder folder_;
  pid_t pid_ = -1;
};

/// Does what every worker does besides rendering, again and again.
class Upkeep {
public:
  explicit Upkeep(jobs::RedisQueue& worker);
  Upkeep(const Upkeep&) = delete;
  Upkeep& operator=(const Upkeep&) = delete;

private:
  std::jthread thread_;
};

class CtlFixture : public jobs::RedisQueueFixture {
protected:
  /// Runs a command on the test's server.
  Ran ctl(std::vector<std::string> words, const std::string& in = "", std::size_t columns = 0) {
    words.insert(words.end(), {"--redis", server.url()});
    return run_ctl(words, in, columns);
  }
  [[nodiscard]] std::unique_ptr<CtlProcess> start(std::vector<std::string> words) const {
    words.insert(words.end(), {"--redis", server.url()});
    return std::make_unique<CtlProcess>(std::move(words));
  }
  /// A job that failed for good with @p error.
  void add_dead_job(jobs::RedisQueue& worker, const std::string& id, const std::string& error);
};

} // namespace audiobookd::daemon::testing
