// A redis-server of its own for every test, on a Unix socket in a temporary folder, and helpers to look into it.
// A test runs on one thread unless it says otherwise.
#pragma once

#include "jobs/redis_connection.h"
#include "jobs/redis_queue.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace audiobookd::jobs {

/// Asks again and again until @p holds is true; false if it is not within 20 seconds.
bool eventually(const std::function<bool()>& holds);

class RedisServer {
public:
  /// Starts a server and waits until it answers. @param options further arguments of redis-server.
  /// @param environment is set in addition. @param wrapper a program and its arguments that starts the server.
  explicit RedisServer(std::vector<std::string> options = {}, std::map<std::string, std::string> environment = {},
                       std::vector<std::string> wrapper = {});
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  void start();
  void kill();                        ///< SIGKILL
  void send_signal(int number) const; ///< SIGSTOP, SIGCONT

  [[nodiscard]] std::string socket() const { return folder_ / "redis.sock"; }
  [[nodiscard]] std::string url() const { return "unix://" + socket(); }

private:
  std::filesystem::path folder_;
  std::vector<std::string> options_;
  std::map<std::string, std::string> environment_;
  std::vector<std::string> wrapper_;
  pid_t pid_ = -1;
};

/// A server, an administrator's connection and as many workers as a test asks for.
class RedisQueueFixture : public ::testing::Test {
protected:
  RedisQueueFixture() = default;
  /// As RedisServer's.
  explicit RedisQueueFixture(std::vector<std::string> options, std::map<std::string, std::string> environment = {},
                             std::vector<std::string> wrapper = {})
      : server(std::move(options), std::move(environment), std::move(wrapper)) {}

  RedisServer server;
  RedisConnection admin{parse_redis_url(server.url()), {}, "test"};

  /// Leases as short as this let a reclaim succeed soon; periods are the reclaiming worker's own.
  static constexpr std::chrono::milliseconds short_lease{60};

  [[nodiscard]] RedisQueueSettings settings(const std::string& worker) const;
  [[nodiscard]] std::unique_ptr<RedisQueue> make_worker(const std::string& name);

  /// A user's XADD. @return the entry's id.
  std::string add(const std::string& queue, const std::string& json);
  /// A job named @p id that is valid. @param more further fields, each with a comma in front.
  std::string add_job(const std::string& queue, const std::string& id, const std::string& more = "");
  void command(const std::string& cmd, const std::string& field, const std::string& value);

  /// A field of a job's record as HGET shows it; empty if there is none.
  std::string field(const std::string& id, const std::string& name);
  std::string state(const std::string& id) { return field(id, "state"); }
  std::int64_t length(const std::string& stream);
  /// True if the events stream holds such an event.
  bool has_event(const std::string& id, const std::string& event, const std::string& detail);
  /// Who holds the only pending entry of @p queue; empty if there is not exactly one.
  std::string holder(const std::string& queue);
  /// Lets @p rescuer reclaim until a job came back. @return what became of it.
  static ReclaimReport reclaim_one(RedisQueue& rescuer);
};

} // namespace audiobookd::jobs
