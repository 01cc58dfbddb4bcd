// redis_warnings(); see redis_connection.h.
#include "jobs/redis_connection.h"

#include <charconv>

namespace audiobookd::jobs {
namespace {

/// The value of "name:value\r\n" in a reply of INFO; empty if absent.
std::string_view info_field(std::string_view info, std::string_view name) {
  const std::string start = "\n" + std::string(name) + ":";
  const std::size_t found = info.find(start);
  if (found == std::string_view::npos)
    return {};
  const std::string_view value = info.substr(found + start.size());
  return value.substr(0, value.find('\r'));
}

void require_version_7(const RedisConnection& connection, std::string_view version) {
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (major < 7)
    throw QueueError("Redis at " + connection.endpoint().display() + " is version \"" + std::string(version) +
                     "\"; 7.0 or newer is needed");
}

} // namespace

std::vector<std::string> redis_warnings(RedisConnection& connection) {
  const std::string info = connection.command({"INFO"}).text;
  require_version_7(connection, info_field(info, "redis_version"));
  std::vector<std::string> warnings;
  if (info_field(info, "aof_enabled") != "1")
    warnings.emplace_back("Redis persistence: appendonly is off, jobs added since the last snapshot are lost when "
                          "Redis stops; set appendonly yes and appendfsync everysec");
  const std::string_view policy = info_field(info, "maxmemory_policy");
  if (policy != "noeviction")
    warnings.push_back("Redis maxmemory-policy is " + std::string(policy) +
                       ": jobs may be evicted when memory is short; set noeviction");
  return warnings;
}

} // namespace audiobookd::jobs
