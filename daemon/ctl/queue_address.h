// Where the queue is that a command of audiobookctl is about.
#pragma once

#include "jobs/queue_client.h"

#include <filesystem>
#include <string>

namespace audiobookd::daemon {

/// Where the service keeps its configuration.
inline constexpr const char* service_config = "/etc/audiobookd/audiobookd.toml";

/// What the command line says; empty: nothing.
struct QueueAddress {
  std::string redis{};
  std::string prefix{};
  std::filesystem::path password_file{};
  std::filesystem::path config{};
};

inline constexpr const char* queue_address_help =
    "Where Redis is, the first that is given: --redis; [redis] of --config; $AUDIOBOOKD_REDIS; $REDIS_URL; [redis] of\n"
    "/etc/audiobookd/audiobookd.toml, if it can be read; redis://127.0.0.1:6379. --prefix and --password-file go "
    "before\n"
    "what a configuration says. Others on this machine can read a password in a command line: a file keeps it.";

/// In the order that queue_address_help describes. @param default_config the service's.
/// @throws ConfigError for a configuration that is wrong, or a password file that cannot be read.
[[nodiscard]] jobs::QueueClientSettings find_queue(const QueueAddress& address,
                                                   const std::filesystem::path& default_config = service_config);

} // namespace audiobookd::daemon
