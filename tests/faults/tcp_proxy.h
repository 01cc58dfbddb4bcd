// A TCP proxy between workers and a redis-server, that cuts, swallows and holds back what a test says.
//
// Its connections are served by a thread of its own; every function may be called from any thread.
#pragma once

#include "jobs/redis_script.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace audiobookd::tests {

/// Whether an exchange is the one that a test waits for. @param reply empty as long as there is none.
using ExchangeTest = std::function<bool(const std::string& request, const std::string& reply)>;

/// A call of @p script, by its name or by its text.
[[nodiscard]] ExchangeTest is_call_of(const jobs::RedisScript& script);
/// The reply of CLAIM that hands out a job.
[[nodiscard]] ExchangeTest hands_out_a_job();
/// HEARTBEAT with phase "committing".
[[nodiscard]] ExchangeTest passes_the_point_of_no_return();

class TcpProxy {
public:
  /// Listens on a free port of 127.0.0.1 and forwards to @p socket, the Unix socket of a redis-server.
  explicit TcpProxy(std::string socket);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  /// New connections lead to another server from now on.
  void redirect(const std::string& socket);
  /// Resets every connection.
  void cut();
  /// Nothing of what the connections that are open now send arrives any more, and nobody is told (half-open TCP).
  void black_hole();

  /// Requests that @p test is true of are held back until let_go(), or lost with cut().
  void hold_request(ExchangeTest test) { arm(Trap::request, std::move(test)); }
  /// Replies that @p test is true of are held back until let_go().
  void hold_reply(ExchangeTest test) { arm(Trap::reply, std::move(test)); }
  /// The next reply that @p test is true of is lost, and its connection reset.
  void lose_reply(ExchangeTest test) { arm(Trap::loss, std::move(test)); }
  /// Whether what was asked for last has happened.
  [[nodiscard]] bool has_sprung() const;
  /// Forwards what was held back, and holds nothing back any more.
  void let_go();

private:
  enum class Trap { none, request, reply, loss };
  struct Connection {
    int client = -1;
    int server = -1;
    std::string request; ///< since the last reply
    bool answered = false;
    bool held = false;
    bool swallowed = false;
    std::string to_server; ///< held back
    std::string to_client; ///< held back
  };

  void arm(Trap trap, ExchangeTest test);
  void serve();
  void accept_one();
  [[nodiscard]] bool from_client(Connection& connection);
  [[nodiscard]] bool from_server(Connection& connection);
  [[nodiscard]] bool springs(Trap trap, const Connection& connection, const std::string& reply);
  void wake() const;
  static void close_connection(Connection& connection);

  int listener_ = -1;
  int wake_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_; // protects everything below
  std::string socket_;
  std::list<Connection> connections_;
  Trap trap_ = Trap::none;
  ExchangeTest test_;
  bool sprung_ = false;
  bool ending_ = false;
  std::jthread thread_; // last: uses everything above
};

} // namespace audiobookd::tests
