// What everybody who speaks jobs/PROTOCOL.md agrees on. Any thread.
#pragma once

#include "jobs/queue.h"

#include <string>
#include <string_view>

namespace audiobookd::jobs {

inline constexpr std::string_view protocol_version = "1";

/// @param found what the key `protocol` holds. @param where the server, for the message.
/// @throws QueueError if it is another version than this program's.
inline void require_protocol(std::string_view found, const std::string& prefix, const std::string& where) {
  if (found != protocol_version)
    throw QueueError("the queue " + prefix + " at " + where + " is of protocol version \"" + std::string(found) +
                     "\", this program speaks version " + std::string(protocol_version));
}

} // namespace audiobookd::jobs
