// How audiobookctl ends. README.md and --help say the same.
#pragma once

#include <functional>
#include <iosfwd>
#include <stdexcept>

namespace audiobookd::daemon {

enum class ExitStatus {
  done = 0,
  failed = 1,      ///< also: a command that was refused, a job that was a duplicate
  wrong_usage = 2, ///< the command line, or a job with a mistake
  no_such_job = 3,
  unreachable = 4,     ///< Redis does not answer, or refuses this user
  job_dead = 5,        ///< follow: the job failed for good
  job_cancelled = 6,   ///< follow: somebody cancelled the job
  not_carried_out = 7, ///< no worker carried the command out in time; it stays in the queue
};

inline constexpr const char* exit_status_help =
    "Exit status: 0 done; 1 failed or refused; 2 wrong usage, or a mistake in a job; 3 no such job; 4 Redis does not\n"
    "answer or refuses this user; 5 the followed job is dead; 6 it was cancelled; 7 no worker carried the command out\n"
    "in time.";

/// What was asked about does not exist.
class NoSuchJob : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Runs @p command and says on @p err what went wrong, if something did. @return how the program should end: an
/// exception is std::invalid_argument for wrong usage, NoSuchJob, one of the queue's, or another failure.
[[nodiscard]] ExitStatus run_guarded(const std::function<ExitStatus()>& command, std::ostream& err);

} // namespace audiobookd::daemon
