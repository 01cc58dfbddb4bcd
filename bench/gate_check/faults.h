// Faults that are planted into what the engine made of a sound utterance. Pure but for the random numbers given.
#pragma once

#include "bench/gate_check/samples.h"

#include <functional>
#include <random>
#include <string>
#include <vector>

namespace audiobookd::bench {

struct Fault {
  std::string name;
  std::function<void(Sample&, std::mt19937_64&)> plant;
};

/// Cut off, silence, noise, clipping, babble: everything that needs no rendering.
[[nodiscard]] const std::vector<Fault>& faults();

} // namespace audiobookd::bench
