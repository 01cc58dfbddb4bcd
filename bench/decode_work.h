// What decoding has to read and compute at least, from the model's shapes and the utterances' lengths: the counts that
// are held against the roofline. Pure functions.
//
// Counted are rows that draw a token, whatever else a step computes. Each step reads all weights of the backbone and of
// the speech head once, and of each row the keys and values of its positions so far. Positions that rows of one voice
// share are counted apart: every row reads them, but together they are one copy, which the L2 cache can serve. A prompt
// counts the positions that it does not share. Embeddings, activations and logits are left out (2 % of a full batch's
// bytes).
#pragma once

#include "engine/models/chatterbox/config.h"

#include <cstdint>
#include <span>
#include <vector>

namespace audiobookd::bench {

/// One row of an utterance.
struct DecodeRow {
  int prompt = 0;           ///< positions before the first token
  int shared = 0;           ///< of them in pages that others read too
  int num_tokens = 0;       ///< drawn by its utterance, the prompt's included
  std::int64_t entered = 0; ///< the step before which its prompt ran
};

/// What one or more steps need, and the prompts that ran between them.
struct DecodeWork {
  double weight_bytes = 0;
  double own_kv_bytes = 0;         ///< pages of one row
  double shared_kv_bytes = 0;      ///< pages of several rows, counted for every row
  double shared_kv_once_bytes = 0; ///< the same, counted once a step
  double gemm_flop = 0;            ///< of the steps
  double attention_flop = 0;       ///< of the steps
  double prompt_gemm_flop = 0;
  double prompt_attention_flop = 0;
  /// The least time for all of it: in each step the GEMMs (bound by arithmetic or by reading weights), then attention
  /// (bound by reading own pages, and shared ones once); in a prompt arithmetic alone.
  double roofline_seconds = 0;
};

struct RooflineLimits {
  double bytes_per_second = 0;
  double flop_per_second = 0;
};

struct ElementBytes {
  double weight = 0;
  double cache = 0; ///< a key's or value's element, with its part of an exponent where there is one
};

/// Work of the steps [begin, end).
DecodeWork decode_work(const engine::chatterbox::T3Config& config, const ElementBytes& bytes,
                       std::span<const DecodeRow> rows, std::int64_t begin, std::int64_t end,
                       const RooflineLimits& limits);

} // namespace audiobookd::bench
