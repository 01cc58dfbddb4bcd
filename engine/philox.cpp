// Keys of the counter-based random numbers. Pure functions.
#include "engine/philox.h"

namespace audiobookd::engine {
namespace {

/// The finaliser of SplitMix64 (Steele et al. 2014): a bijection in which every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9E3779B97F4A7C15u;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
  return value ^ (value >> 31);
}

} // namespace

RandomStream random_stream(std::uint64_t seed, const Hash128& utterance_key, std::uint32_t attempt) noexcept {
  const std::uint64_t key = mix(mix(mix(seed) ^ utterance_key.low) ^ utterance_key.high);
  return {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32), attempt};
}

} // namespace audiobookd::engine
