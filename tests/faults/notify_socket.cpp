#include "tests/faults/notify_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace audiobookd::tests {

NotifySocket::NotifySocket(const std::filesystem::path& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::system_error(errno, std::generic_category(), "bind " + path.string());
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { read(stop); });
}

NotifySocket::~NotifySocket() {
  thread_.request_stop();
  ::shutdown(fd_, SHUT_RDWR);
  thread_.join();
  ::close(fd_);
}

void NotifySocket::read(const std::stop_token& stop) {
  std::array<char, 4096> block{};
  while (!stop.stop_requested()) {
    const ssize_t got = ::recv(fd_, block.data(), block.size(), 0);
    if (got > 0) {
      const std::lock_guard lock(mutex_);
      messages_.emplace_back(block.data(), static_cast<std::size_t>(got));
    }
  }
}

std::vector<std::string> NotifySocket::messages() const {
  const std::lock_guard lock(mutex_);
  return messages_;
}

bool NotifySocket::has(const std::string& part) const {
  const auto all = messages();
  return std::ranges::any_of(all, [&](const std::string& message) { return message.find(part) != std::string::npos; });
}

int NotifySocket::count_since(const std::string& heartbeat, const std::string& missed) const {
  int count = 0;
  for (const std::string& message : messages()) {
    if (message.starts_with(missed)) {
      count = 0;
    } else if (message.starts_with(heartbeat)) {
      ++count;
    }
  }
  return count;
}

} // namespace audiobookd::tests
