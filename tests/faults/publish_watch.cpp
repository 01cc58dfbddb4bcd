#include "tests/faults/publish_watch.h"

#include <array>
#include <cerrno>
#include <climits>
#include <stdexcept>
#include <sys/inotify.h>
#include <system_error>
#include <unistd.h>

namespace audiobookd::tests {

PublishWatch::PublishWatch(const std::filesystem::path& folder) : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  if (fd_ < 0 || ::inotify_add_watch(fd_, folder.c_str(), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
    throw std::system_error(errno, std::generic_category(), "inotify on " + folder.string());
  }
}

PublishWatch::~PublishWatch() { ::close(fd_); }

const std::map<std::string, int>& PublishWatch::counts() {
  alignas(inotify_event) std::array<char, 64 * (sizeof(inotify_event) + NAME_MAX + 1)> block{};
  for (ssize_t got = 0; (got = ::read(fd_, block.data(), block.size())) > 0;) {
    for (const char* at = block.data(); at < block.data() + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      if ((event->mask & IN_Q_OVERFLOW) != 0) {
        throw std::runtime_error("inotify: events were lost");
      }
      if (event->len > 0 && event->name[0] != '.') {
        ++counts_[event->name];
      }
      at += sizeof(inotify_event) + event->len;
    }
  }
  return counts_;
}

int PublishWatch::count(const std::string& name) {
  const auto& all = counts();
  const auto found = all.find(name);
  return found == all.end() ? 0 : found->second;
}

} // namespace audiobookd::tests
