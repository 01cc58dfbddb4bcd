// One poll loop. Clients ask one question at a time, so what a client sends between two replies is one request.
#include "tests/faults/tcp_proxy.h"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace audiobookd::tests {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

int connect_unix(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return fd;
  }
  ::close(fd);
  return -1;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::string receive(int fd) {
  std::array<char, 65536> block{};
  const ssize_t got = ::recv(fd, block.data(), block.size(), 0);
  return {block.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

bool is_ready(const pollfd& entry) { return (entry.revents & (POLLIN | POLLHUP | POLLERR)) != 0; }

} // namespace

ExchangeTest is_call_of(const jobs::RedisScript& script) {
  return [&script](const std::string& request, const std::string&) {
    return contains(request, script.sha1) || contains(request, script.text);
  };
}

ExchangeTest hands_out_a_job() {
  return [call = is_call_of(jobs::scripts::claim)](const std::string& request, const std::string& reply) {
    return call(request, reply) && contains(reply.substr(0, 16), "$3\r\njob\r\n");
  };
}

ExchangeTest passes_the_point_of_no_return() {
  return [call = is_call_of(jobs::scripts::heartbeat)](const std::string& request, const std::string& reply) {
    return call(request, reply) && contains(request, "\r\ncommitting\r\n");
  };
}

TcpProxy::TcpProxy(std::string socket)
    : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), wake_(::eventfd(0, EFD_CLOEXEC)),
      socket_(std::move(socket)) {
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_, any, length) != 0 || ::listen(listener_, 256) != 0 ||
      ::getsockname(listener_, any, &length) != 0) {
    fail("proxy: listen");
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::jthread([this] { serve(); });
}

TcpProxy::~TcpProxy() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake();
  thread_.join();
  for (Connection& connection : connections_) {
    close_connection(connection);
  }
  ::close(listener_);
  ::close(wake_);
}

void TcpProxy::wake() const {
  const std::uint64_t one = 1;
  if (::write(wake_, &one, sizeof one) != sizeof one) {
    fail("proxy: wake");
  }
}

void TcpProxy::close_connection(Connection& connection) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(connection.client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  ::close(connection.client);
  ::close(connection.server);
}

void TcpProxy::redirect(const std::string& socket) {
  const std::lock_guard lock(mutex_);
  socket_ = socket;
}

void TcpProxy::cut() {
  const std::lock_guard lock(mutex_);
  for (Connection& connection : connections_) {
    ::shutdown(connection.client, SHUT_RDWR); // the loop sees the end and closes
    connection.swallowed = false;
    connection.held = false;
    connection.to_server.clear();
    connection.to_client.clear();
  }
  wake();
}

void TcpProxy::black_hole() {
  const std::lock_guard lock(mutex_);
  for (Connection& connection : connections_) {
    connection.swallowed = true;
  }
  wake();
}

void TcpProxy::arm(Trap trap, ExchangeTest test) {
  const std::lock_guard lock(mutex_);
  trap_ = trap;
  test_ = std::move(test);
  sprung_ = false;
}

bool TcpProxy::has_sprung() const {
  const std::lock_guard lock(mutex_);
  return sprung_;
}

void TcpProxy::let_go() {
  const std::lock_guard lock(mutex_);
  trap_ = Trap::none;
  for (Connection& connection : connections_) {
    if (std::exchange(connection.held, false)) {
      send_all(connection.server, std::exchange(connection.to_server, ""));
      send_all(connection.client, std::exchange(connection.to_client, ""));
    }
  }
  wake();
}

void TcpProxy::serve() {
  for (;;) {
    std::vector<pollfd> waiting = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      if (ending_) {
        return;
      }
      for (const Connection& connection : connections_) {
        const bool listens = !connection.held && !connection.swallowed;
        waiting.push_back({listens ? connection.client : -1, POLLIN, 0});
        waiting.push_back({listens ? connection.server : -1, POLLIN, 0});
      }
    }
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) {
      fail("proxy: poll");
    }
    const std::lock_guard lock(mutex_);
    std::uint64_t count = 0;
    if (is_ready(waiting[0]) && ::read(wake_, &count, sizeof count) != sizeof count) {
      fail("proxy: read");
    }
    std::size_t next = 2; // connections are added at the end, below
    for (auto it = connections_.begin(); it != connections_.end(); next += 2) {
      const bool lives = !(is_ready(waiting[next]) && !from_client(*it)) &&
                         !(!it->held && is_ready(waiting[next + 1]) && !from_server(*it));
      if (!lives) {
        close_connection(*it);
      }
      it = lives ? std::next(it) : connections_.erase(it);
    }
    if (is_ready(waiting[1])) {
      accept_one();
    }
  }
}

void TcpProxy::accept_one() {
  const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  const int server = connect_unix(socket_);
  if (client >= 0 && server >= 0) {
    connections_.push_back({.client = client, .server = server, .request = {}, .to_server = {}, .to_client = {}});
    return;
  }
  ::close(client); // nobody behind it: refused as late as a proxy can
  ::close(server);
}

bool TcpProxy::springs(Trap trap, const Connection& connection, const std::string& reply) {
  if (trap_ != trap || reply.starts_with("-NOSCRIPT") || !test_(connection.request, reply)) {
    return false;
  }
  if (trap == Trap::loss) {
    trap_ = Trap::none; // once
  }
  sprung_ = true;
  return true;
}

bool TcpProxy::from_client(Connection& connection) {
  const std::string bytes = receive(connection.client);
  if (bytes.empty()) {
    return false;
  }
  if (std::exchange(connection.answered, false)) {
    connection.request.clear();
  }
  connection.request += bytes;
  if (springs(Trap::request, connection, "")) {
    connection.held = true;
    connection.to_server = bytes;
    return true;
  }
  return send_all(connection.server, bytes);
}

bool TcpProxy::from_server(Connection& connection) {
  const std::string bytes = receive(connection.server);
  if (bytes.empty() || springs(Trap::loss, connection, bytes)) {
    return false;
  }
  connection.answered = true;
  if (springs(Trap::reply, connection, bytes)) {
    connection.held = true;
    connection.to_client = bytes;
    return true;
  }
  return send_all(connection.client, bytes);
}

} // namespace audiobookd::tests
