// T3's backbone in bf16 on a GPU: packed prompts of any lengths, and decode steps.
//
// Weights and cache are bf16 (the cache e4m3 if wanted); the residual stream, norms, attention sums and logits are
// fp32. A row's result does not depend on its company, to the bit: matrix products go through Gemm, all other sums have
// a fixed order. Numbers of rows are rounded up to buckets, so that few of them have to be prepared. Not thread-safe;
// works on the current stream.
#pragma once

#include "engine/cuda/decode_kernels.h"
#include "engine/cuda/gemm.h"
#include "engine/layers/kv_cache.h"
#include "engine/layers/text_watch.h"
#include "engine/models/chatterbox/t3.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine::cuda {

/// A prompt of which the first positions may be in the cache already.
struct Prompt {
  at::Tensor embeddings; // [rows, hidden] fp32: what is to be run
  int first = 0;         // position of the first of them
};

/// The sequences of a batch, whichever of them a step runs; all tensors on the GPU.
struct Sequences {
  at::Tensor tokens;           // [sequences] int64: input of the next step
  at::Tensor speech_positions; // [sequences] int64: its speech position
  at::Tensor positions;        // [sequences] int32: its position in the cache; negative: parked
  at::Tensor block_table;      // [sequences, max_pages] int32
  at::Tensor shared;           // [sequences] int32: see Pages
  TextWatch watch{};           // of these sequences
};

class CudaT3 {
public:
  /// Rows that prompts of one prefill() may have together without a product of a size of its own.
  static constexpr std::int64_t prompt_rows = 2048;
  /// Prompts (rows of the batch, not utterances) that go through one prefill() at most.
  static constexpr std::int64_t max_prompts = 64;

  /// The number of rows that is computed for @p rows: a small power of two or a multiple of 128.
  static std::int64_t bucket(std::int64_t rows);
  /// All buckets that up to @p rows rows may need, the smallest first.
  static std::vector<std::int64_t> buckets(std::int64_t rows);

  /// Converts the weights of @p model, which must outlive this. @param invariant false: matrix products by whatever
  /// algorithm is fastest, so that tokens may depend on the company
  explicit CudaT3(const chatterbox::T3& model, bool invariant = true);

  [[nodiscard]] const chatterbox::T3& model() const noexcept { return model_; }
  /// @param dtype of keys and values: bf16, or Float8_e4m3fn, which halves what a step has to read
  [[nodiscard]] KvCache make_cache(int num_pages, at::ScalarType dtype = at::kBFloat16) const;

  /// Chooses algorithms for all buckets up to @p rows.
  void prepare(std::int64_t rows);

  /// Runs prompts and stores their keys and values.
  /// @param prompts at most max_prompts; positions before `first` may be written by another prompt of the same call.
  /// @param block_table [prompts, max_pages] int32, @param shared [prompts] int32, on the GPU: see Pages.
  /// @return speech logits of each prompt's last position, [bucket(prompts), speech_vocab] fp32, rows strided;
  /// rows past the prompts are meaningless.
  [[nodiscard]] at::Tensor prefill(const std::vector<Prompt>& prompts, const at::Tensor& block_table,
                                   const at::Tensor& shared, KvCache& cache);

  /// One decode step; may be captured in a CUDA graph if its bucket is prepared.
  /// @param rows [bucket] int32: the sequences that take part. @return speech logits [bucket, speech_vocab] fp32, rows
  /// strided
  [[nodiscard]] at::Tensor decode(const at::Tensor& rows, const Sequences& sequences, KvCache& cache);

private:
  CudaT3(const chatterbox::T3& model, const LlamaConfig& config, bool invariant);

  struct Layer {
    at::Tensor input_norm, post_norm;      // fp32 [hidden]
    at::Tensor qkv, output, gate_up, down; // bf16 [out, in]
  };
  /// The second half of a layer: residual += output(attended), residual += mlp(norm(residual)).
  void finish_layer(const Layer& layer, const at::Tensor& attended, at::Tensor& residual);
  [[nodiscard]] at::Tensor logits(const at::Tensor& normed);

  [[nodiscard]] static Pages pages_of(const KvCache& cache, std::size_t layer, const at::Tensor& block_table,
                                      const at::Tensor& shared);

  const chatterbox::T3& model_;
  std::vector<Layer> layers_;
  at::Tensor speech_head_; // bf16 [speech_vocab and padding, hidden]
  Gemm qkv_, output_, gate_up_, down_, head_;
};

} // namespace audiobookd::engine::cuda
