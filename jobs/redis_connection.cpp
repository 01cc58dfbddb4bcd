// See redis_connection.h.
#include "jobs/redis_connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <sys/time.h>

namespace audiobookd::jobs {
namespace {

/// hiredis writes to sockets without MSG_NOSIGNAL: a server that went away would end the process by SIGPIPE. This keeps
/// the signal from the calling thread for as long as it lives and swallows the one that was raised meanwhile.
class SigpipeHeldBack {
public:
  SigpipeHeldBack() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &mask_before_);
  }
  ~SigpipeHeldBack() {
    const timespec at_once{};
    if (!was_pending_)
      sigtimedwait(&sigpipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  }
  SigpipeHeldBack(const SigpipeHeldBack&) = delete;
  SigpipeHeldBack& operator=(const SigpipeHeldBack&) = delete;

private:
  sigset_t sigpipe_{};
  sigset_t mask_before_{};
  bool was_pending_ = false;
};

struct ReplyDeleter {
  void operator()(redisReply* reply) const noexcept { freeReplyObject(reply); }
};

timeval to_timeval(std::chrono::milliseconds time) {
  return {.tv_sec = static_cast<time_t>(time.count() / 1000),
          .tv_usec = static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

RedisValue to_value(const redisReply& reply) {
  RedisValue value;
  switch (reply.type) {
  case REDIS_REPLY_INTEGER:
    value.kind = RedisValue::Kind::integer;
    value.integer = reply.integer;
    break;
  case REDIS_REPLY_STRING:
  case REDIS_REPLY_STATUS:
    value.kind = RedisValue::Kind::text;
    value.text.assign(reply.str, reply.len);
    break;
  case REDIS_REPLY_ARRAY:
    value.kind = RedisValue::Kind::list;
    for (std::size_t i = 0; i < reply.elements; ++i)
      value.list.push_back(to_value(*reply.element[i]));
    break;
  default: break; // nil
  }
  return value;
}

/// Errors that pass without anybody doing something about this program.
bool is_transient(std::string_view code) {
  constexpr std::array<std::string_view, 10> codes = {
      "LOADING",    "READONLY",    "OOM",        "BUSY",     "MISCONF",
      "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "TRYAGAIN", "UNBLOCKED" /* XREAD, when a master becomes a replica */};
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

} // namespace

const RedisValue& RedisValue::at(std::size_t index) const {
  if (kind != Kind::list || index >= list.size())
    throw QueueError("Redis sent a reply of an unexpected shape: no element " + std::to_string(index));
  return list[index];
}

void RedisConnection::ContextDeleter::operator()(redisContext* context) const noexcept { redisFree(context); }

RedisConnection::RedisConnection(RedisEndpoint endpoint, RedisTimeouts timeouts, std::string client_name)
    : endpoint_(std::move(endpoint)), timeouts_(timeouts), client_name_(std::move(client_name)) {}

RedisConnection::~RedisConnection() = default;

void RedisConnection::connect() {
  const SigpipeHeldBack guard;
  const timeval timeout = to_timeval(timeouts_.connect);
  context_.reset(endpoint_.host.empty() ? redisConnectUnixWithTimeout(endpoint_.unix_path.c_str(), timeout)
                                        : redisConnectWithTimeout(endpoint_.host.c_str(), endpoint_.port, timeout));
  if (!context_)
    throw std::bad_alloc();
  if (context_->err != 0)
    fail_broken();
  if (!endpoint_.host.empty())
    redisEnableKeepAlive(context_.get());
  set_timeout(timeouts_.command);
  try {
    authenticate();
  } catch (...) {
    disconnect(); // half prepared is not connected
    throw;
  }
}

void RedisConnection::disconnect() noexcept { context_.reset(); }

void RedisConnection::authenticate() {
  if (!endpoint_.password.empty()) {
    if (endpoint_.user.empty())
      command({"AUTH", endpoint_.password});
    else
      command({"AUTH", endpoint_.user, endpoint_.password});
  }
  command({"CLIENT", "SETNAME", client_name_});
  if (endpoint_.database != 0)
    command({"SELECT", std::to_string(endpoint_.database)});
}

void RedisConnection::set_timeout(std::chrono::milliseconds timeout) {
  if (redisSetTimeout(context_.get(), to_timeval(timeout)) != REDIS_OK)
    fail_broken();
}

RedisValue RedisConnection::command(std::span<const std::string_view> arguments, std::chrono::milliseconds block) {
  if (!context_)
    connect();
  const SigpipeHeldBack guard;
  std::vector<const char*> texts;
  std::vector<std::size_t> lengths;
  for (const std::string_view argument : arguments) {
    texts.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  if (block.count() > 0)
    set_timeout(timeouts_.command + block);
  const std::unique_ptr<redisReply, ReplyDeleter> reply(static_cast<redisReply*>(
      redisCommandArgv(context_.get(), static_cast<int>(texts.size()), texts.data(), lengths.data())));
  if (!reply)
    fail_broken();
  if (block.count() > 0)
    set_timeout(timeouts_.command);
  if (reply->type == REDIS_REPLY_ERROR)
    fail_answered(std::string(reply->str, reply->len));
  return to_value(*reply);
}

std::vector<RedisValue> RedisConnection::pipeline(const std::vector<std::vector<std::string>>& commands) {
  if (!context_)
    connect();
  const SigpipeHeldBack guard;
  for (const std::vector<std::string>& command : commands) {
    std::vector<const char*> texts;
    std::vector<std::size_t> lengths;
    for (const std::string& argument : command) {
      texts.push_back(argument.data());
      lengths.push_back(argument.size());
    }
    redisAppendCommandArgv(context_.get(), static_cast<int>(texts.size()), texts.data(), lengths.data());
  }
  std::vector<RedisValue> values;
  std::string error;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    void* raw = nullptr;
    if (redisGetReply(context_.get(), &raw) != REDIS_OK)
      fail_broken();
    const std::unique_ptr<redisReply, ReplyDeleter> reply(static_cast<redisReply*>(raw));
    if (reply->type == REDIS_REPLY_ERROR && error.empty())
      error.assign(reply->str, reply->len);
    values.push_back(to_value(*reply));
  }
  if (!error.empty())
    fail_answered(error);
  return values;
}

bool RedisConnection::has_input(std::chrono::milliseconds timeout) {
  pollfd socket{.fd = context_->fd, .events = POLLIN, .revents = 0};
  return poll(&socket, 1, static_cast<int>(timeout.count())) > 0; // interrupted: as good as nothing
}

std::optional<RedisValue> RedisConnection::receive(std::chrono::milliseconds timeout) {
  if (!context_)
    throw QueueUnavailable("Redis at " + endpoint_.display() + ": the connection is gone");
  void* raw = nullptr; // what came together with an earlier reply is in hiredis' buffer, not in the socket's
  if (redisGetReplyFromReader(context_.get(), &raw) != REDIS_OK)
    fail_broken();
  if (raw == nullptr && has_input(timeout) && redisGetReply(context_.get(), &raw) != REDIS_OK)
    fail_broken();
  const std::unique_ptr<redisReply, ReplyDeleter> reply(static_cast<redisReply*>(raw));
  if (!reply)
    return std::nullopt;
  if (reply->type == REDIS_REPLY_ERROR)
    fail_answered(std::string(reply->str, reply->len));
  return to_value(*reply);
}

void RedisConnection::fail_broken() {
  const bool is_timeout = context_->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
  const std::string why = is_timeout ? "no reply in time" : context_->errstr;
  context_.reset(); // a late reply would be taken for the next one's
  throw QueueUnavailable("Redis at " + endpoint_.display() + ": " + why);
}

void RedisConnection::fail_answered(const std::string& error) {
  const std::string code = error.substr(0, error.find(' '));
  const std::string message = "Redis at " + endpoint_.display() + ": " + error;
  if (is_transient(code)) {
    if (code != "OOM" && code != "BUSY")
      context_.reset(); // the next attempt may find another server behind the address
    throw QueueUnavailable(message);
  }
  throw RedisCommandError(code, message);
}

} // namespace audiobookd::jobs
