// Everything the program reads from its environment. Before other threads start, or where nobody changes it.
#pragma once

#include <filesystem>

namespace audiobookd::daemon {

/// Where re-creatable files may lie: $CACHE_DIRECTORY (systemd), $XDG_CACHE_HOME/audiobookd or ~/.cache/audiobookd.
/// @throws std::runtime_error when none of the variables is set.
[[nodiscard]] std::filesystem::path cache_folder();

/// systemd's $CREDENTIALS_DIRECTORY, or empty.
[[nodiscard]] std::filesystem::path credentials_folder();

/// Whether the log goes to the journal ($JOURNAL_STREAM).
[[nodiscard]] bool logs_to_journal();

} // namespace audiobookd::daemon
