// The utterances that throughput claims are made with: lengths, texts and tokens drawn from a fixed seed.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace audiobookd::bench {

struct BenchUtterance {
  std::string text;                        ///< about 100 T3 text tokens
  int num_tokens = 0;                      ///< forced length in speech tokens
  std::vector<std::int32_t> speech_tokens; ///< that many random tokens, for synthesis alone
};

/// @p count utterances of 388 ± 90 speech tokens (15.5 s), normal, cut to [100, @p max_tokens].
std::vector<BenchUtterance> make_workload(int count, int max_tokens, unsigned seed = 1);

/// Seconds of audio that @p utterances make (25 tokens a second).
double audio_seconds(const std::vector<BenchUtterance>& utterances);

} // namespace audiobookd::bench
