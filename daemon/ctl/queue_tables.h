// What audiobookctl prints about the queue for people. Whatever comes from the queue is made printable().
//
// Pure functions but for the stream: any thread.
#pragma once

#include "jobs/queue_client.h"

#include <iosfwd>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// For tables: where they go.
struct Page {
  std::ostream& out;
  std::size_t columns = 0; ///< what is longer is cut; 0: nothing is
  std::int64_t now = 0;    ///< the queue's time, milliseconds since 1970
};

void print_jobs(const Page& page, const std::vector<jobs::JobRecord>& records);
void print_job(const Page& page, const jobs::JobRecord& record, const std::vector<jobs::JobEvent>& events);
void print_dead(const Page& page, const std::vector<jobs::DeadJob>& jobs);
void print_workers(const Page& page, const std::vector<jobs::WorkerRecord>& workers);
void print_stats(const Page& page, const jobs::QueueStats& stats);

/// "[####......]  42 %" of a fraction. @param width of the bar.
[[nodiscard]] std::string bar(double fraction, std::size_t width);

/// How a job is, in a line without its id and progress: "running on w-1, 0:53 left", "dead: the input is missing".
[[nodiscard]] std::string describe_state(const jobs::JobRecord& record);

/// "12 s", "5 min", "3 h", "2 d".
[[nodiscard]] std::string format_age(std::int64_t milliseconds);

} // namespace audiobookd::daemon
