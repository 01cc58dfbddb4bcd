// See queue_address.h.
#include "daemon/ctl/queue_address.h"

#include "daemon/environment.h"
#include "daemon/redis_config.h"

#include <unistd.h>

namespace audiobookd::daemon {
namespace {

/// The URL's place, and what a configuration says besides if it is the one that was found.
RedisConfig find_redis(const QueueAddress& address, const std::filesystem::path& default_config) {
  RedisConfig redis;
  if (!address.redis.empty()) {
    redis.url = address.redis;
  } else if (!address.config.empty()) {
    redis = load_redis_config(address.config);
  } else if (const std::string url = redis_url_of_environment(); !url.empty()) {
    redis.url = url;
  } else if (::access(default_config.c_str(), R_OK) == 0) {
    redis = load_redis_config(default_config);
  }
  return redis;
}

} // namespace

jobs::QueueClientSettings find_queue(const QueueAddress& address, const std::filesystem::path& default_config) {
  RedisConfig redis = find_redis(address, default_config);
  if (!address.password_file.empty()) {
    redis.password_file = address.password_file;
  }
  jobs::QueueClientSettings settings;
  settings.url = redis.url;
  settings.prefix = address.prefix.empty() ? redis.prefix : address.prefix;
  settings.password = read_redis_password(redis, credentials_folder());
  return settings;
}

} // namespace audiobookd::daemon
