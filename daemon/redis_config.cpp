// See redis_config.h.
#include "daemon/redis_config.h"

#include "daemon/config_section.h"

#include <fstream>

namespace audiobookd::daemon {

void read_redis(ConfigSection section, RedisConfig& redis) {
  section.read("url", redis.url);
  section.read("prefix", redis.prefix);
  section.read_path("password_file", redis.password_file);
  section.reject_unknown();
}

RedisConfig load_redis_config(const std::filesystem::path& file) {
  const toml::table table = parse_toml(file);
  RedisConfig redis;
  read_redis(ConfigSection(&table, "", file).section("redis"), redis);
  return redis;
}

std::string read_redis_password(const RedisConfig& redis, const std::filesystem::path& credentials_folder) {
  std::filesystem::path file = redis.password_file;
  if (file.empty() && !credentials_folder.empty()) {
    file = credentials_folder / "redis-password";
    if (!std::filesystem::exists(file)) {
      return {};
    }
  }
  std::string password;
  if (!file.empty()) {
    std::ifstream stream(file);
    if (!std::getline(stream, password)) {
      throw ConfigError(file.string() + ": the Redis password cannot be read");
    }
  }
  return password;
}

} // namespace audiobookd::daemon
