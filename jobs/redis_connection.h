// One connection to Redis, over hiredis. Connects when it is first used and again after it broke; never waits and tries
// again by itself: that is the caller's decision.
//
// A RedisConnection is used by one thread at a time.
#pragma once

#include "jobs/queue.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct redisContext;

namespace audiobookd::jobs {

/// Where Redis is and who we are to it.
struct RedisEndpoint {
  std::string host; ///< empty: unix_path is set
  int port = 6379;
  std::string unix_path;
  std::string user;     ///< empty: the default user
  std::string password; ///< empty: no AUTH
  int database = 0;

  /// For messages: without user and password.
  [[nodiscard]] std::string display() const;
};

/// Reads redis://[[user]:password@]host[:port][/db] or unix://[[user]:password@]/path[?db=N]. Percent escapes are
/// decoded in user, password and path; an IPv6 host stands in brackets.
/// @throws QueueError naming what is wrong; rediss:// is refused with the way to do TLS all the same (stunnel).
/// @param password replaces the URL's if not empty.
[[nodiscard]] RedisEndpoint parse_redis_url(std::string_view url, const std::string& password = {});

/// A reply, or a part of one. Errors never get this far: they are thrown.
struct RedisValue {
  enum class Kind { nil, integer, text, list };
  Kind kind = Kind::nil;
  std::int64_t integer = 0;
  std::string text; ///< text and status replies
  std::vector<RedisValue> list;

  [[nodiscard]] bool is_nil() const noexcept { return kind == Kind::nil; }
  /// Element @p index of a list. @throws QueueError if this is not a list that long: a foreign protocol.
  [[nodiscard]] const RedisValue& at(std::size_t index) const;
};

/// Redis answered with an error. Permanent, unless somebody who knows the code knows better.
class RedisCommandError : public QueueError {
public:
  RedisCommandError(std::string code, const std::string& message) : QueueError(message), code_(std::move(code)) {}
  /// The first word of the error: "NOSCRIPT", "NOAUTH", …
  [[nodiscard]] const std::string& code() const noexcept { return code_; }

private:
  std::string code_;
};

struct RedisTimeouts {
  std::chrono::milliseconds connect{5000};
  std::chrono::milliseconds command{10000}; ///< for a reply; a connection whose reply is late is given up
};

class RedisConnection {
public:
  /// Does not connect yet. @param client_name shown by CLIENT LIST; without spaces.
  RedisConnection(RedisEndpoint endpoint, RedisTimeouts timeouts, std::string client_name);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  [[nodiscard]] bool is_connected() const noexcept { return context_ != nullptr; }

  /// Connects, authenticates, names the client and selects the database; drops the old connection first.
  /// @throws QueueUnavailable if nobody answers, @throws RedisCommandError if the password is wrong or missing.
  void connect();

  /// Drops the connection; the next command connects again.
  void disconnect() noexcept;

  /// Sends one command and waits for its reply; connects first if need be.
  /// @param block how long the command itself may block in the server (XREAD BLOCK), on top of the timeout.
  /// @throws QueueUnavailable if the connection broke or timed out (it is dropped; the command may or may not have been
  /// executed), or the server cannot serve now (LOADING, READONLY, OOM, BUSY, …).
  /// @throws RedisCommandError for every other error.
  RedisValue command(std::span<const std::string_view> arguments, std::chrono::milliseconds block = {});
  RedisValue command(std::initializer_list<std::string_view> arguments, std::chrono::milliseconds block = {}) {
    return command(std::span(arguments.begin(), arguments.size()), block);
  }

  /// Sends all commands at once and waits for their replies: one round trip instead of many.
  /// @return the replies, in the order of the commands.
  /// @throws as command(), for the first command that Redis refused; the others were executed all the same.
  std::vector<RedisValue> pipeline(const std::vector<std::vector<std::string>>& commands);

  /// Waits for what Redis sends unasked after SUBSCRIBE; nothing if it does not come within @p timeout.
  /// @throws QueueUnavailable if the connection broke or there is none.
  std::optional<RedisValue> receive(std::chrono::milliseconds timeout);

  [[nodiscard]] const RedisEndpoint& endpoint() const noexcept { return endpoint_; }

private:
  struct ContextDeleter {
    void operator()(redisContext* context) const noexcept;
  };

  void set_timeout(std::chrono::milliseconds timeout);
  [[nodiscard]] bool has_input(std::chrono::milliseconds timeout);
  void authenticate();
  [[noreturn]] void fail_broken();
  [[noreturn]] void fail_answered(const std::string& error);

  RedisEndpoint endpoint_;
  RedisTimeouts timeouts_;
  std::string client_name_;
  std::unique_ptr<redisContext, ContextDeleter> context_;
};

/// What about the server's configuration endangers jobs: persistence off, keys evicted at maxmemory.
/// @throws QueueError if the server is too old for the scripts (before 7.0).
[[nodiscard]] std::vector<std::string> redis_warnings(RedisConnection& connection);

} // namespace audiobookd::jobs
