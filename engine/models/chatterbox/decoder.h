// Continuous batching of T3: utterances enter whenever a place is free and leave when they are done; the batch never
// stops for either.
//
// Not thread-safe: the engine thread owns it.
#pragma once

#include "engine/layers/kv_cache.h"
#include "engine/models/chatterbox/t3.h"
#include "engine/philox.h"
#include "engine/utterance.h"

#include <ATen/core/Tensor.h>
#include <memory>
#include <optional>
#include <vector>

namespace audiobookd::engine::chatterbox {

struct DecodeRequest {
  UtteranceId id = 0;
  std::vector<std::int32_t> text_ids;
  std::shared_ptr<const Voice> voice;
  float exaggeration = 0.5f;
  SamplingParams sampling;
  RandomStream random;
  int max_tokens = 0;  ///< decoding ends here without a stop token
  bool forced = false; ///< exactly max_tokens tokens, all of them speech: stop and special tokens cannot be drawn
};

struct DecodeResult {
  UtteranceId id = 0;
  std::vector<std::int32_t> speech_tokens; ///< filtered: all in [0, 6561)
  bool hit_token_limit = false;
};

class Decoder {
public:
  /// @param max_batch utterances decoded together. @param num_pages pages of KV cache for all of them.
  Decoder(const T3& model, int max_batch, int num_pages);

  [[nodiscard]] int active() const noexcept { return active_; }
  [[nodiscard]] int free_places() const noexcept { return static_cast<int>(places_.size()) - active_; }
  /// True when @p request fits now. @throws std::invalid_argument when it can never fit.
  [[nodiscard]] bool fits(const DecodeRequest& request) const;
  /// Runs the prompt and draws the first token. Precondition: fits(request).
  void admit(const DecodeRequest& request);
  /// Frees the place of @p id; false when it is not here.
  bool cancel(UtteranceId id) noexcept;
  /// Decodes one token of every utterance and returns those that are done.
  std::vector<DecodeResult> step();

private:
  struct Place {
    DecodeRequest request;
    std::vector<std::vector<std::int32_t>> pages; // one list a row
    int prompt_length = 0;
    std::vector<std::int32_t> tokens; // drawn so far
  };
  /// A decode step's host-side description: which places take part and where their rows are.
  struct Batch {
    std::vector<int> places;             // place of each utterance; -1 is padding
    std::vector<std::int64_t> cond_rows; // row of each utterance's conditional and unconditional logits
    std::vector<std::int64_t> uncond_rows;
    std::int64_t num_rows = 0; // padded
  };
  [[nodiscard]] int pages_needed(const DecodeRequest& request) const;
  [[nodiscard]] at::Tensor conditioning_for(const DecodeRequest& request);
  [[nodiscard]] Batch collect() const;
  /// Logits of one step for the rows of @p batch.
  [[nodiscard]] at::Tensor forward(const Batch& batch);
  /// Draws the next token of each utterance from its rows of @p logits and appends it.
  void sample(const Batch& batch, const at::Tensor& logits);
  [[nodiscard]] bool is_done(const Place& place) const;
  DecodeResult finish(int index);
  void free_place(int index);

  const T3& model_;
  KvCache cache_;
  std::vector<std::optional<Place>> places_;
  int active_ = 0;
  at::Tensor seen_;       // [max_batch + 1, speech_vocab] bool: tokens of each place; the last row is padding
  at::Tensor not_speech_; // [1, speech_vocab] bool: tokens that a forced length must not draw
  struct {
    Hash128 voice;
    float exaggeration = 0;
    at::Tensor rows; // [34, hidden] of the last utterance: the next one mostly shares it
  } conditioning_;
};

/// What reaches S3Gen of the drawn tokens (reference: drop_invalid_tokens): everything up to a start token and from
/// the stop token on is dropped, then every special token.
[[nodiscard]] std::vector<std::int32_t> valid_speech_tokens(const std::vector<std::int32_t>& drawn,
                                                            const T3Config& config);

} // namespace audiobookd::engine::chatterbox
