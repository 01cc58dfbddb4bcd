// See redis_script.h.
#include "jobs/redis_script.h"

namespace audiobookd::jobs {

RedisValue run_script(RedisConnection& connection, const RedisScript& script, std::string_view prefix,
                      const std::vector<std::string>& arguments) {
  std::vector<std::string_view> command = {"EVALSHA", script.sha1, "1", prefix};
  command.insert(command.end(), arguments.begin(), arguments.end());
  try {
    return connection.command(command);
  } catch (const RedisCommandError& error) {
    if (error.code() != "NOSCRIPT")
      throw;
  }
  command[0] = "EVAL";
  command[1] = script.text;
  return connection.command(command);
}

} // namespace audiobookd::jobs
