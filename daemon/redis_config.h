// The section [redis] of the configuration: all that a program needs which only speaks to the queue.
//
// Plain values; any thread.
#pragma once

#include "daemon/config_error.h"

#include <filesystem>
#include <string>

namespace audiobookd::daemon {

class ConfigSection;

struct RedisConfig {
  std::string url = "redis://127.0.0.1:6379";
  std::string prefix = "tts:";
  std::filesystem::path password_file; ///< empty: the password is in the URL, or there is none
};

/// @throws ConfigError as ConfigSection's functions.
void read_redis(ConfigSection section, RedisConfig& redis);

/// Only the section [redis] of @p file; what the others say does not matter. @throws ConfigError: the file cannot be
/// read or is not TOML, or the section has an unknown key or a value of the wrong type.
[[nodiscard]] RedisConfig load_redis_config(const std::filesystem::path& file);

/// The Redis password: the first line of password_file, else of the credential "redis-password" in
/// @p credentials_folder (systemd's $CREDENTIALS_DIRECTORY, may be empty), else nothing.
/// @throws ConfigError naming a password_file that cannot be read.
[[nodiscard]] std::string read_redis_password(const RedisConfig& redis,
                                              const std::filesystem::path& credentials_folder);

} // namespace audiobookd::daemon
