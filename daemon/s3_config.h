// The section [s3] of the configuration.
//
// Plain values; any thread.
#pragma once

#include "daemon/config_error.h"

#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::daemon {

class ConfigSection;

struct S3Config {
  std::string region;   ///< empty: the environment's, else us-east-1
  std::string endpoint; ///< empty: Amazon's of the region
  std::string addressing = "auto";
  std::filesystem::path ca_file;
  std::string proxy;
  std::filesystem::path credentials_file; ///< empty: see storage of jobs (job_storage.h)
  std::string profile;                    ///< empty: the environment's, else "default"
  bool instance_metadata = true;
  std::string fencing = "probe";
  double retry_seconds = 60;
  std::filesystem::path staging;        ///< empty: data_folder() / "staging"
  std::vector<std::string> input_roots; ///< besides [paths] input_root
  std::vector<std::string> output_roots;
};

/// @throws ConfigError as ConfigSection's functions.
void read_s3(ConfigSection section, S3Config& s3);

/// As TOML, with its heading. No secrets: there are none in it.
[[nodiscard]] std::string describe(const S3Config& s3);

} // namespace audiobookd::daemon
