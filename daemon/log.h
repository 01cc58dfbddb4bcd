// The log: spdlog's default logger on stderr, in the form that whoever reads it expects. Any thread, after
// set_up_log().
#pragma once

#include <string>

namespace audiobookd::daemon {

/// Logs to stderr from now on: "<6>text" with the journal's priorities when @p to_journal, else with time and level.
/// @param level as Config::log_level.
void set_up_log(const std::string& level, bool to_journal);

/// Changes the level of the running log.
void set_log_level(const std::string& level);

/// Whether stderr is the journal's: systemd sets $JOURNAL_STREAM (given here) to its device and inode.
[[nodiscard]] bool is_journal(const char* journal_stream);

} // namespace audiobookd::daemon
