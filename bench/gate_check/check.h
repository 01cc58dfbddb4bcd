// Judges samples: false alarms, faults that are caught and by which gate.
#pragma once

#include "bench/gate_check/samples.h"
#include "daemon/gates.h"
#include "engine/alignment.h"

#include <filesystem>
#include <vector>

namespace audiobookd::bench {

struct CheckOptions {
  std::filesystem::path folder;
  std::vector<std::size_t> heads; ///< columns of Sample::alignment that count
  daemon::GateSettings gates;
  bool shows_values = false; ///< a line of measures for each sound sample instead of the table
};

/// Prints a table and a line of JSON. @throws std::runtime_error.
void check(const CheckOptions& options);

/// Prints how steadily each head moves through the texts of the sound samples, the steadiest first.
/// @param heads_per_layer of the model.
void list_heads(const std::filesystem::path& folder, int heads_per_layer);

} // namespace audiobookd::bench
