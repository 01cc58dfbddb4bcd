// The utterances that throughput claims are made with: lengths, texts and tokens drawn from a fixed seed.
// Pure functions.
#pragma once

#include "engine/models/chatterbox/config.h"

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

/// A text that audiobookd cuts into @p utterances utterances: paragraphs of one sentence, each predicted to take as
/// many tokens as in make_workload(), but at most 390, the longest that the daemon renders in one piece (352 on
/// average).
std::string book_text(int utterances, unsigned seed = 1);

/// A paragraph of three sentences of 60, 120 and 180 characters (22 s), the first of which a daemon may render alone.
std::string request_text(unsigned seed);

/// The longest utterance of a workload for this model.
int longest_tokens(const engine::chatterbox::Config& config);

/// Seconds of audio that @p utterances make (25 tokens a second).
double audio_seconds(const std::vector<BenchUtterance>& utterances);

} // namespace audiobookd::bench
