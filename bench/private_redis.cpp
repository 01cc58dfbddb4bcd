#include "bench/private_redis.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <unistd.h>

namespace audiobookd::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds start_patience{15};

std::atomic<bool> interrupted = false;

} // namespace

void end_on_signals() {
  for (const int number : {SIGINT, SIGTERM}) {
    std::signal(number, [](int) { interrupted = true; });
  }
}

void check_interrupt() {
  if (interrupted) {
    throw std::runtime_error("interrupted");
  }
}

std::string end_of_file(const fs::path& log) {
  constexpr std::size_t most = 2000;
  std::ifstream file(log);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return text.size() > most ? text.substr(text.size() - most) : text;
}

TempFolder::TempFolder() {
  std::string name = fs::temp_directory_path() / "audiobook-bench-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("no folder " + name + " can be made");
  }
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

PrivateRedis::PrivateRedis(const fs::path& folder)
    : log_(folder / "redis.log"), socket_(folder / "redis.sock"),
      server_({"redis-server", "--port", "0", "--unixsocket", socket_, "--dir", folder, "--save", "", "--appendonly",
               "yes", "--maxmemory-policy", "noeviction"},
              log_),
      connection_(jobs::parse_redis_url(url()), {}, "audiobook-bench") {
  const auto deadline = std::chrono::steady_clock::now() + start_patience;
  while (!answers()) {
    check_interrupt();
    if (!server_.is_running() || std::chrono::steady_clock::now() > deadline) {
      throw std::runtime_error("redis-server does not come up: " + end_of_file(log_));
    }
    usleep(10000); // between two looks
  }
}

bool PrivateRedis::answers() {
  try {
    connection_.command({"PING"});
    return true;
  } catch (const jobs::QueueUnavailable&) {
    return false;
  }
}

} // namespace audiobookd::bench
