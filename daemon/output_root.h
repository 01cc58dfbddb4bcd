// Where books lie, for programs that need nothing else of the configuration.
//
// Any thread.
#pragma once

#include "daemon/config_section.h"
#include "daemon/s3_config.h"

#include <filesystem>
#include <string>

namespace audiobookd::daemon {

struct OutputRoot {
  std::string root; ///< a folder, or s3://BUCKET/PREFIX
  S3Config s3;
};

/// Reads a root: a folder, which becomes absolute, or a URL of S3.
/// @throws ConfigError as ConfigSection's functions.
void read_root(ConfigSection& section, const char* key, std::string& root);

/// [paths] output_root and [s3] of a configuration. @throws ConfigError as load_config(), about these alone.
[[nodiscard]] OutputRoot load_output_root(const std::filesystem::path& file);

} // namespace audiobookd::daemon
