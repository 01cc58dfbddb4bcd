// `audiobookctl follow`: shows how jobs go on until they have ended.
//
// A message on the channel of a job says that there is something to see; what is shown is always read from the job's
// record, and that is read every second anyway, so that a message that was lost costs a second. While Redis is away it
// waits. One thread.
#pragma once

#include "daemon/ctl/exit_status.h"
#include "jobs/queue_client.h"

#include <chrono>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// A job to follow.
struct FollowedJob {
  std::string id;
  std::string queue{}; ///< with the entry: of a job that was just added. It may be dropped, or get another name
  std::string entry{};
  std::optional<jobs::JobRecord> record{}; ///< the last that was seen
  std::string end{};                       ///< "done", "dead", "cancelled", "duplicate", "purged"; empty: not yet
  std::string of{};                        ///< which job it is a duplicate of
};

/// What somebody sees of it.
class FollowView {
public:
  virtual ~FollowView() = default;
  /// @p jobs as they are now; called again and again.
  virtual void show(const std::vector<FollowedJob>& jobs) = 0;
  /// Something about the queue itself.
  virtual void say(const std::string& text) = 0;
};

struct FollowOptions {
  std::chrono::milliseconds period{1000};             ///< in which records are read without a message
  std::optional<std::chrono::milliseconds> timeout{}; ///< after which it gives up
};

/// Follows @p jobs to their ends. @return done if all are; else what became of the worst: dead, cancelled,
/// no_such_job (it was purged), failed (a duplicate); or not_carried_out when the time was up.
/// @throws NoSuchJob naming an id that neither exists nor may still be taken in; QueueError; QueueUnavailable, but only
/// before the first look.
ExitStatus follow(jobs::QueueClient& client, std::vector<FollowedJob> jobs, FollowView& view,
                  const FollowOptions& options);

} // namespace audiobookd::daemon
