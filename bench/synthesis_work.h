// What synthesis has to compute at least, from the model's shapes and the utterances' lengths. Pure functions.
//
// Counted are two operations for every multiplication with a weight, and for every product of attention; norms,
// activations, the harmonic source and Fourier transforms are left out, as is moving data: S3Gen is bound by
// arithmetic.
#pragma once

#include "engine/models/chatterbox/config.h"

#include <cstdint>

namespace audiobookd::bench {

/// Operations of one or more utterances, by stage.
struct SynthesisWork {
  double encoder_flop = 0;
  double cfm_gemm_flop = 0; ///< linear layers and convolutions, all Euler steps, both guidance rows
  double cfm_attention_flop = 0;
  double vocoder_flop = 0;

  SynthesisWork& operator+=(const SynthesisWork& other);
};

/// @param prompt_tokens of the voice, which the encoder and the CFM see in front of the utterance's own @p tokens; the
/// vocoder does not. @param cfm_steps Euler steps
SynthesisWork synthesis_work(const engine::chatterbox::FlowConfig& flow, const engine::chatterbox::HiftConfig& hift,
                             std::int64_t prompt_tokens, std::int64_t tokens, int cfm_steps);

} // namespace audiobookd::bench
