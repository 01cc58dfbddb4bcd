// The section [estimate] of the configuration: what a book will take before it is rendered.
//
// Plain values; any thread.
#pragma once

#include "daemon/config_error.h"

#include <filesystem>

namespace audiobookd::daemon {

class ConfigSection;

struct EstimateConfig {
  /// Seconds of audio that one GPU renders in a second. The default is what one H200 was measured to do with a book of
  /// ten hours (bench/NOTES.md).
  double times_real_time = 632;
  double price_per_gpu_hour = 0; ///< in any currency; 0: nothing is said about money
};

/// @throws ConfigError as ConfigSection's functions.
void read_estimate(ConfigSection section, EstimateConfig& estimate);

/// Only the section [estimate] of @p file; what the others say does not matter. @throws ConfigError: the file cannot be
/// read or is not TOML, or the section has an unknown key or a value of the wrong type or out of range.
[[nodiscard]] EstimateConfig load_estimate_config(const std::filesystem::path& file);

} // namespace audiobookd::daemon
