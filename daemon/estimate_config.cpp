// See estimate_config.h.
#include "daemon/estimate_config.h"

#include "daemon/config_section.h"

namespace audiobookd::daemon {

void read_estimate(ConfigSection section, EstimateConfig& estimate) {
  section.read("times_real_time", estimate.times_real_time, 0.001, 1e6);
  section.read("price_per_gpu_hour", estimate.price_per_gpu_hour, 0, 1e6);
  section.reject_unknown();
}

EstimateConfig load_estimate_config(const std::filesystem::path& file) {
  const toml::table table = parse_toml(file);
  EstimateConfig estimate;
  read_estimate(ConfigSection(&table, "", file).section("estimate"), estimate);
  return estimate;
}

} // namespace audiobookd::daemon
