#include "engine/memory_budget.h"

#include <algorithm>
#include <sstream>

namespace audiobookd::engine {

std::int64_t tensor_budget(double fraction, const DeviceMemory& memory) {
  const auto all = static_cast<std::int64_t>(fraction * static_cast<double>(memory.total));
  const std::int64_t not_ours = memory.used - memory.reserved;
  return std::max<std::int64_t>(0, all - not_ours);
}

std::int64_t spare_bytes(const WorkingMemory& working) { return (working.decode + working.synthesis) / 8; }

std::int64_t synthesis_share(std::int64_t budget, std::int64_t weights, std::int64_t decode, std::int64_t least_cache) {
  const std::int64_t left = std::max<std::int64_t>(0, budget - weights - decode);
  return std::max<std::int64_t>(0, std::min(left / 2, left - least_cache));
}

int pages_that_fit(std::int64_t budget, std::int64_t weights, const WorkingMemory& working, std::int64_t page_bytes,
                   int least, int most) {
  const std::int64_t left = budget - weights - working.decode - working.synthesis - spare_bytes(working);
  return static_cast<int>(std::clamp<std::int64_t>(left / page_bytes, least, std::max(least, most)));
}

std::string too_small(double fraction, const DeviceMemory& memory, std::int64_t needed, const std::string& what) {
  std::ostringstream text;
  text << what << " needs at least " << needed << " bytes of GPU memory; " << tensor_budget(fraction, memory)
       << " are available (gpu_memory_fraction " << fraction << " of " << memory.total << ", less "
       << memory.used - memory.reserved << " in use by other programs and the CUDA context)";
  return text.str();
}

} // namespace audiobookd::engine
