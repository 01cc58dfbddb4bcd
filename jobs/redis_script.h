// The Lua scripts of the queue, each one state change; their texts are jobs/lua/*.lua, put in at build time.
//
// Constants and a function without state: any thread, as long as a connection is used by one at a time.
#pragma once

#include "jobs/redis_connection.h"

#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

struct RedisScript {
  std::string_view name;
  std::string_view sha1; ///< of the text, hexadecimal
  std::string_view text;
};

namespace scripts {
extern const RedisScript intake, claim, heartbeat, complete, fail, release, promote, reclaim, control, announce, retire,
    counts;
} // namespace scripts

/// Runs @p script with KEYS = {prefix}. The text is sent only if the server does not know it yet (after a restart or
/// SCRIPT FLUSH).
/// @throws QueueUnavailable, QueueError as RedisConnection::command() does.
RedisValue run_script(RedisConnection& connection, const RedisScript& script, std::string_view prefix,
                      const std::vector<std::string>& arguments);

} // namespace audiobookd::jobs
