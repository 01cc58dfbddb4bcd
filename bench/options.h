// What the command line of audiobook-bench says.
#pragma once

#include "engine/engine.h"

#include <filesystem>
#include <string>

namespace audiobookd::bench {

struct Options {
  std::string benchmark;
  std::filesystem::path checkpoint;
  std::string device = "cpu";
  std::string dtype = "auto";
  bool free_gemm = false; // decode: whatever algorithm is fastest
  int utterances = 154;
  int batch = 0;           ///< 0: by device
  int synthesis_batch = 0; ///< 0: by device
  double memory_fraction = engine::EngineOptions{}.gpu_memory_fraction;
  int threads = 1;
  int cfm_steps = 10;
  int cache_pages = 1 << 20;
  bool kv_fp8 = false;  ///< T3's keys and values in 8 bits
  bool cfm_fp8 = false; ///< products of the flow's transformer blocks in 8 bits
  double prompt_seconds = engine::EngineOptions{}.prompt_seconds;
  double clip_seconds = 10;      ///< `clip`: of the narrator's clip
  int urgent = 0;                ///< `engine`: utterances that somebody waits for
  int books = 1;                 ///< the workload of `book` is divided among so many jobs
  int jobs = 1000;               ///< `queue`: of a burst
  int interactive = 0;           ///< short requests that `book` sends while the books run
  bool no_gates = false;         ///< `book` does not judge utterances
  bool cold = false;             ///< `book` counts the daemon's start and load too
  bool shares = false;           ///< print where a profiled run spends the GPU's time
  std::filesystem::path profile; ///< where its trace goes; empty: nowhere
  int profile_seconds = 2;

  /// Whether a second, profiled run is wanted.
  [[nodiscard]] bool profiled() const { return shares || !profile.empty(); }
};

extern const char* const usage;

/// @throws std::invalid_argument naming the argument that is wrong.
Options parse_options(int argc, char** argv);

engine::EngineOptions engine_options(const Options& options);

} // namespace audiobookd::bench
