// `audiobookctl enqueue`: jobs are judged here, by the code that judges them again in a worker, before they are added.
//
// One thread.
#pragma once

#include "daemon/ctl/follow.h"
#include "jobs/queue_client.h"

#include <functional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// One job, or one a line (JSON lines). Each is judged by jobs::parse_job().
/// @return each job's JSON. @throws std::invalid_argument with what is wrong, and where if there are several.
[[nodiscard]] std::vector<std::string> split_jobs(const std::string& text);

/// Judges a job. @throws std::invalid_argument with what is wrong.
void check_job(const std::string& json);

/// Adds jobs that were judged, in their order. @param on_added is called for each, with what follow() wants to know.
/// @throws std::runtime_error naming a job that exists already: nothing is added then.
void add_jobs(jobs::QueueClient& client, const std::string& queue, const std::vector<std::string>& payloads,
              const std::function<void(const FollowedJob&)>& on_added);

} // namespace audiobookd::daemon
