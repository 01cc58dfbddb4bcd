// Continuous batching of T3: utterances enter whenever a place is free and leave when they are done; the batch never
// stops for either.
//
// The interface has two implementations: AtenDecoder (any device, fp32, the oracle) and CudaDecoder (bf16, our own
// kernels). Both give an utterance the same tokens in any company, to the bit.
//
// Not thread-safe: the engine thread owns it.
#pragma once

#include "engine/alignment.h"
#include "engine/models/chatterbox/t3.h"
#include "engine/philox.h"
#include "engine/utterance.h"

#include <ATen/core/Tensor.h>
#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
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
  bool urgent = false; ///< goes before others: see Reserve and Decoder::limit_step()
};

/// What only urgent requests may take: all others leave it free, unless nothing else is active.
struct Reserve {
  int places = 0;
  int pages = 0; ///< of KV cache
};

struct DecodeResult {
  UtteranceId id = 0;
  std::vector<std::int32_t> speech_tokens; ///< filtered: all in [0, 6561)
  bool hit_token_limit = false;
  Alignment alignment{}; ///< of these speech tokens; no heads, no positions
};

class Decoder {
public:
  virtual ~Decoder() = default;

  [[nodiscard]] virtual int active() const noexcept = 0;
  [[nodiscard]] virtual int free_places() const noexcept = 0;
  /// Takes requests from the front of @p waiting as long as they fit (not necessarily all of those at once), runs their
  /// prompts and draws their first tokens. @return how many
  /// @throws std::invalid_argument when the first request can never fit; it stays in front, nothing was taken.
  /// @throws c10::OutOfMemoryError when the device has no memory to run the prompts; all that were tried together are
  /// in front again, in their order.
  virtual int admit(std::deque<DecodeRequest>& waiting) = 0;
  /// Lets admit() try at most half as many together as it tried last. @return false when it was one already
  virtual bool admit_fewer() = 0;
  /// Frees the place of @p id; false when it is not here.
  virtual bool cancel(UtteranceId id) = 0;
  /// Decodes steps_per_call() tokens of every utterance and returns those that are known to be done.
  /// @throws c10::OutOfMemoryError when the device has no memory for it; another call goes on as if nothing had
  /// happened.
  virtual std::vector<DecodeResult> step() = 0;
  [[nodiscard]] virtual int steps_per_call() const noexcept { return 1; }
  /// From now on step() serves @p most utterances at most, urgent ones first, then those in the first places: fewer
  /// rows take less time. The others wait and lose nothing. At least 1.
  virtual void limit_step(int most) = 0;
  /// Replaces the KV cache by one of @p num_pages pages; 0: none, and nothing can be admitted. Only while nothing is
  /// active. @throws c10::OutOfMemoryError when it does not fit; then there is none.
  virtual void resize_cache(int num_pages) = 0;
};

/// The conditioning rows of the voice used last: utterances that follow one another mostly share it.
class ConditioningCache {
public:
  /// @return [2 + perceiver_queries, hidden]
  const at::Tensor& rows(const T3& model, const DecodeRequest& request);

private:
  Hash128 voice_;
  float exaggeration_ = 0;
  at::Tensor rows_;
};

/// Indices of the places that take part in a step, in their order. @param places optionals of what has a `request`.
template <typename Places>
std::vector<int> places_in_step(const Places& places, int most) {
  std::vector<int> taking_part;
  for (const bool urgent : {true, false}) {
    for (int i = 0; i < static_cast<int>(places.size()) && static_cast<int>(taking_part.size()) < most; ++i) {
      const auto& place = places[static_cast<std::size_t>(i)];
      if (place && place->request.urgent == urgent) {
        taking_part.push_back(i);
      }
    }
  }
  std::sort(taking_part.begin(), taking_part.end());
  return taking_part;
}

/// Whether @p request, which needs @p pages, may enter beside @p active utterances and leave @p reserve alone.
[[nodiscard]] bool may_enter(const DecodeRequest& request, int pages, int active, int free_places, int free_pages,
                             const Reserve& reserve) noexcept;

/// Rows of the batch that an utterance takes: a conditional one, and an unconditional one if it is guided.
[[nodiscard]] int rows_of(const DecodeRequest& request) noexcept;

/// Cache pages that @p request reserves when it is admitted, over all its rows.
[[nodiscard]] int pages_needed(const T3& model, const DecodeRequest& request);

/// @throws std::invalid_argument naming the request's size when the pages it needs are more than there are.
void check_can_fit(const DecodeRequest& request, int needed_pages, int num_pages);

/// @throws std::invalid_argument naming a head that @p model does not have.
void check_heads(const T3& model, const std::vector<AttentionHead>& heads);

/// Positions that the text of @p request takes in the prompt: start, text, stop.
[[nodiscard]] int text_length(const DecodeRequest& request) noexcept;

/// What reaches S3Gen of the drawn tokens (reference: drop_invalid_tokens): everything up to a start token and from
/// the stop token on is dropped, then every special token.
[[nodiscard]] std::vector<std::int32_t> valid_speech_tokens(const std::vector<std::int32_t>& drawn,
                                                            const T3Config& config);

/// The result of @p request. @param drawn all its tokens. @param attended [drawn, heads] as in Alignment.
[[nodiscard]] DecodeResult make_result(const DecodeRequest& request, const std::vector<std::int32_t>& drawn,
                                       const std::vector<std::int32_t>& attended, const T3Config& config);

} // namespace audiobookd::engine::chatterbox
