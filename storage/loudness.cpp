// libebur128 filters and sums; the gates are applied here, because its own lists cannot be put together from stretches.
#include "storage/loudness.h"

#include "storage/errors.h"

#include <algorithm>
#include <cmath>
#include <ebur128.h>
#include <limits>
#include <memory>

namespace audiobookd::storage {
namespace {

constexpr double absolute_gate = -70;
constexpr double relative_gate = -10;
constexpr std::size_t hops_of_block = 4;

struct Destroy {
  void operator()(ebur128_state* state) const noexcept { ebur128_destroy(&state); }
};

double mean_above(std::span<const float> blocks, double gate) {
  double energy = 0;
  std::size_t count = 0;
  for (const float block : blocks) {
    if (block > gate) {
      energy += std::pow(10, block / 10);
      ++count;
    }
  }
  return count == 0 ? -std::numeric_limits<double>::infinity() : 10 * std::log10(energy / static_cast<double>(count));
}

} // namespace

std::vector<float> block_loudness(std::span<const float> samples, std::size_t lead, int sample_rate) {
  const std::unique_ptr<ebur128_state, Destroy> meter(
      ebur128_init(1, static_cast<unsigned long>(sample_rate), EBUR128_MODE_M));
  if (!meter) {
    throw TransientError("loudness meter: out of memory");
  }
  const std::size_t hop = loudness_hop(sample_rate);
  std::vector<float> blocks;
  ebur128_add_frames_float(meter.get(), samples.data(), std::min(lead, samples.size()));
  for (std::size_t end = lead + hop; end <= samples.size(); end += hop) {
    ebur128_add_frames_float(meter.get(), &samples[end - hop], hop);
    double loudness = 0;
    if (end >= hops_of_block * hop && ebur128_loudness_momentary(meter.get(), &loudness) == EBUR128_SUCCESS) {
      blocks.push_back(static_cast<float>(loudness));
    }
  }
  return blocks;
}

double integrated_loudness(std::span<const float> blocks) {
  return mean_above(blocks, std::max(absolute_gate, mean_above(blocks, absolute_gate) + relative_gate));
}

} // namespace audiobookd::storage
