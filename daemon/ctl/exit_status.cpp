// See exit_status.h.
#include "daemon/ctl/exit_status.h"

#include "daemon/ctl/printable.h"
#include "jobs/redis_connection.h"

#include <ostream>
#include <string>

namespace audiobookd::daemon {
namespace {

/// What somebody can do about a refusal of Redis.
std::string advice(const jobs::RedisCommandError& error) {
  if (error.code() == "NOAUTH" || error.code() == "WRONGPASS") {
    return "; --password-file FILE or a URL like redis://user:password@host says who you are";
  }
  return error.code() == "NOPERM" ? "; jobs/PROTOCOL.md, \"Permissions\", says what a producer needs" : "";
}

} // namespace

ExitStatus run_guarded(const std::function<ExitStatus()>& command, std::ostream& err) {
  const auto fail = [&](const std::string& message, ExitStatus status) {
    err << "audiobookctl: " << printable(message) << '\n'; // it may quote what others wrote into the queue
    return status;
  };
  try {
    return command();
  } catch (const std::invalid_argument& error) {
    return fail(error.what(), ExitStatus::wrong_usage);
  } catch (const NoSuchJob& error) {
    return fail(error.what(), ExitStatus::no_such_job);
  } catch (const jobs::QueueUnavailable& error) {
    return fail(error.what(), ExitStatus::unreachable);
  } catch (const jobs::RedisCommandError& error) {
    return fail(error.what() + advice(error), ExitStatus::unreachable);
  } catch (const jobs::QueueError& error) {
    return fail(error.what(), ExitStatus::unreachable);
  } catch (const std::exception& error) {
    return fail(error.what(), ExitStatus::failed);
  }
}

} // namespace audiobookd::daemon
