// Continuous batching of T3 through ATen: the CPU path in fp32 or bf16, and in fp32 the oracle of the CUDA path.
//
// Not thread-safe: the engine thread owns it.
#pragma once

#include "engine/layers/kv_cache.h"
#include "engine/models/chatterbox/decoder.h"

#include <ATen/core/Tensor.h>
#include <limits>
#include <optional>
#include <vector>

namespace audiobookd::engine::chatterbox {

class AtenDecoder final : public Decoder {
public:
  /// @param max_batch utterances decoded together. @param num_pages pages of KV cache for all of them.
  /// @param alignment_heads heads whose attention to the text is reported. @param reserve for urgent requests.
  /// @throws std::invalid_argument naming a head that does not exist.
  AtenDecoder(const T3& model, int max_batch, int num_pages, std::vector<AttentionHead> alignment_heads = {},
              const Reserve& reserve = {});

  [[nodiscard]] int active() const noexcept override { return active_; }
  [[nodiscard]] int free_places() const noexcept override { return static_cast<int>(places_.size()) - active_; }
  int admit(std::deque<DecodeRequest>& waiting) override;
  bool admit_fewer() override { return false; } // prompts run one by one
  bool cancel(UtteranceId id) override;
  std::vector<DecodeResult> step() override;
  void limit_step(int most) override { most_in_step_ = most; }
  void resize_cache(int num_pages) override;

private:
  struct Place {
    DecodeRequest request;
    std::vector<std::vector<std::int32_t>> pages; // one list a row
    int prompt_length = 0;
    std::vector<std::int32_t> tokens{};   // drawn so far
    std::vector<std::int32_t> attended{}; // [tokens, heads]
  };
  /// A decode step's host-side description: which places take part and where their rows are.
  struct Batch {
    std::vector<int> places;             // place of each utterance; -1 is padding
    std::vector<std::int64_t> cond_rows; // row of each utterance's conditional and unconditional logits
    std::vector<std::int64_t> uncond_rows;
    std::int64_t num_rows = 0; // padded
  };
  /// A watch over the conditional rows of @p batch.
  [[nodiscard]] TextWatch watch(const Batch& batch) const;
  /// Keeps what a step saw of each utterance.
  void note(const Batch& batch, const TextWatch& seen);
  void admit_one(const DecodeRequest& request);
  [[nodiscard]] Batch collect() const;
  /// Logits of one step for the rows of @p batch.
  [[nodiscard]] at::Tensor forward(const Batch& batch, const TextWatch& watch);
  /// Draws the next token of each utterance from its rows of @p logits and appends it.
  void sample(const Batch& batch, const at::Tensor& logits);
  [[nodiscard]] bool is_done(const Place& place) const;
  DecodeResult finish(int index);
  void free_place(int index);

  const T3& model_;
  int num_pages_;
  const std::vector<AttentionHead> alignment_heads_;
  const Reserve reserve_;
  int most_in_step_ = std::numeric_limits<int>::max();
  KvCache cache_;
  std::vector<std::optional<Place>> places_;
  int active_ = 0;
  std::vector<DecodeResult> done_; // not yet returned
  at::Tensor seen_;                // [max_batch + 1, speech_vocab] bool: tokens of each place; the last row is padding
  at::Tensor not_speech_;          // [1, speech_vocab] bool: tokens that a forced length must not draw
  ConditioningCache conditioning_;
};

} // namespace audiobookd::engine::chatterbox
