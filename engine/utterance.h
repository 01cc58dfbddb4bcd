// What goes through the engine: an utterance with its parameters, and its waveform.
#pragma once

#include "engine/hash128.h"

#include <cstdint>
#include <string>
#include <vector>

namespace audiobookd::engine {

/// Chosen by the caller, unique among utterances in flight.
using UtteranceId = std::uint64_t;

/// Raised whenever the samples rendered for the same input change.
inline constexpr int audio_revision = 2;

/// Sampling of speech tokens, in the order in which it is applied (defaults of the reference implementation).
struct SamplingParams {
  float cfg_weight = 0.5f;         ///< cond + w (cond - uncond); [0, 5]
  float repetition_penalty = 1.2f; ///< over all tokens generated so far, the start token included; [1, 10]
  float temperature = 0.8f;        ///< (0, 5]
  float min_p = 0.05f;             ///< tokens below min_p times the largest probability are removed; [0, 1]
  int top_k = 0;                   ///< this many of the most probable tokens are kept; [0, 10000], 0: all
  float top_p = 1.0f;              ///< nucleus; (0, 1]
  bool greedy = false;             ///< take the most probable token instead of drawing
};

/// One stretch of text (a sentence or a few) that is rendered in one piece.
struct Utterance {
  UtteranceId id = 0;
  std::string text; ///< UTF-8, as it is to be spoken; the engine normalises punctuation
  std::string voice = "default";
  float exaggeration = 0.5f; ///< emotion conditioning; [0, 2]
  SamplingParams sampling;
  int cfm_steps = 10; ///< Euler steps of the flow decoder; [1, 100]
  std::uint64_t seed = 0;
  Hash128 key;           ///< Engine::utterance_key(): with seed and attempt, the key of every random number
  int attempt = 0;       ///< raised to render the same text with other random numbers
  int forced_tokens = 0; ///< > 0: exactly so many tokens, stop ignored (benchmarks). 0: until stop
  std::vector<std::int32_t> speech_tokens; ///< not empty: decoding was done before, only synthesis is left
  /// Somebody waits for it: it is decoded and synthesised before everything else, which slows down for it. For short
  /// utterances; a book's would only take the speed from all others.
  bool urgent = false;
};

/// Mono PCM, nominally in [-1, 1].
struct Waveform {
  std::vector<float> samples;
  int sample_rate = 24000;
  bool hit_token_limit = false; ///< ended at the token limit, not at a stop token: the end may be cut off
};

} // namespace audiobookd::engine
