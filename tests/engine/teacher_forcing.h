// Teacher forcing: several models read the same prompts and the same tokens, so that their logits can be compared
// position by position.
#pragma once

#include "engine/models/chatterbox/t3.h"

#include <ATen/core/Tensor.h>
#include <functional>
#include <ostream>
#include <vector>

namespace audiobookd::tests {

/// A T3 as teacher forcing drives it. Row 2u is utterance u's conditional row, row 2u + 1 its unconditional one.
class ForcedModel {
public:
  /// Input of one step; rows are padded with rows on the scratch page to a multiple of kernels::row_tile.
  struct Step {
    at::Tensor tokens;           // [rows] int64
    at::Tensor speech_positions; // [rows] int64
    at::Tensor positions;        // [rows] int32
    at::Tensor block_table;      // [rows, max_pages] int32
  };
  virtual ~ForcedModel() = default;
  /// @param prompts each [2, positions, hidden]. @param block_table as in Step. @return [2 * prompts, vocab]
  virtual at::Tensor prefill(const std::vector<at::Tensor>& prompts, const at::Tensor& block_table) = 0;
  /// @return [rows, vocab]
  virtual at::Tensor decode(const Step& step) = 0;
};

/// The ATen path in the arithmetic of @p model, which must outlive this.
class ForcedT3 final : public ForcedModel {
public:
  ForcedT3(const engine::chatterbox::T3& model, int num_pages) : model_(model), cache_(model.make_cache(num_pages)) {}
  at::Tensor prefill(const std::vector<at::Tensor>& prompts, const at::Tensor& block_table) override;
  at::Tensor decode(const Step& step) override;

private:
  const engine::chatterbox::T3& model_;
  engine::KvCache cache_;
};

/// The utterances that are followed.
struct ForcedUtterances {
  std::vector<at::Tensor> prompts; // each [2, positions, hidden] fp32
  int steps = 0;                   // logits of so many positions are compared

  [[nodiscard]] int count() const { return static_cast<int>(prompts.size()); }
  [[nodiscard]] std::int64_t pages_per_row() const;
  /// Pages of KV cache for all rows.
  [[nodiscard]] int num_pages() const { return static_cast<int>(2 * count() * pages_per_row()); }
};

/// Chooses every utterance's token, [utterances] int64, from logits [utterances, 2, vocab] of a step.
using NextTokens = std::function<at::Tensor(std::int64_t step, const at::Tensor& logits)>;

/// Runs prompts and then one step for each token that @p next gives. @return logits [steps, utterances, 2, vocab] fp32
at::Tensor follow(ForcedModel& model, const ForcedUtterances& utterances, const NextTokens& next);

/// A history and the logits that it was drawn from.
struct History {
  at::Tensor logits; // [steps, utterances, 2, vocab]
  at::Tensor tokens; // [steps, utterances] int64 on the CPU
};
History draw_history(ForcedModel& model, const ForcedUtterances& utterances, int start_token);

/// The logits of @p model when it reads @p tokens.
at::Tensor force(ForcedModel& model, const ForcedUtterances& utterances, const at::Tensor& tokens);

/// What `model.to(torch.bfloat16)` computes in Hugging Face's LlamaModel (transformers 4.46, modeling_llama.py) under
/// the reference's T3: every weight and activation in bf16, the residual stream and the rotary table too; RMSNorm
/// computes in fp32 between. Prompts are rounded to bf16. @return logits [steps, utterances, 2, vocab] as fp32
at::Tensor plain_bf16_logits(const engine::chatterbox::T3& model, const ForcedUtterances& utterances,
                             const at::Tensor& tokens);

/// How far logits are from those of fp32, after guidance and as the sampler sees them (default sampling parameters).
struct LogitError {
  double relative = 0; ///< || difference || / || fp32 || after guidance, over all positions
  double sigma = 0;    ///< standard deviation of the difference after guidance, penalty and temperature, all positions
  int positions = 0;   ///< compared
  int clear = 0;       ///< where the two largest processed logits of fp32 are more than 4 sigma of that position apart
  int clear_flips = 0; ///< of those, positions whose most probable token is another
  int flips = 0;       ///< positions whose most probable token is another
  double mean_kl = 0;  ///< KL(fp32 || other) in nats of the probabilities before min-p, mean over positions
  double max_kl = 0;   ///< and the largest
  double mean_variation = 0; ///< total variation distance after min-p: the chance that a draw becomes another token
};
LogitError logit_error(const at::Tensor& logits, const History& exact, int start_token);
std::ostream& operator<<(std::ostream& out, const LogitError& error);

} // namespace audiobookd::tests
