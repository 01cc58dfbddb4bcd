// The user's dictionary as a file.
//
// Any thread.
#pragma once

#include "daemon/config_error.h"
#include "jobs/spoken_text/dictionary.h"

#include <filesystem>

namespace audiobookd::daemon {

/// Reads a TOML file with one table, `[words]`, of `written = "spoken"`.
/// @throws ConfigError naming the file and the entry: it cannot be read or is not TOML, has no such table or anything
/// else, or an entry is wrong.
[[nodiscard]] jobs::Words load_dictionary(const std::filesystem::path& file);

} // namespace audiobookd::daemon
