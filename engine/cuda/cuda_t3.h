// T3's backbone in bf16 on a GPU: packed prompts of any lengths, and one decode step of a fixed number of rows.
//
// Weights and cache are bf16; the residual stream, norms, attention sums and logits are fp32. Every matrix product has
// a fixed number of rows (prompts are cut into tiles), so each runs one algorithm and a row's result does not depend on
// its company, to the bit. Not thread-safe; works on the current stream.
#pragma once

#include "engine/cuda/decode_kernels.h"
#include "engine/layers/kv_cache.h"
#include "engine/models/chatterbox/t3.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine::cuda {

class CudaT3 {
public:
  /// Rows of a prompt tile; prompts are packed into tiles, longer ones span several.
  static constexpr std::int64_t tile_rows = 2048;
  /// Prompts (rows, not utterances) that go through one prefill() at most.
  static constexpr std::int64_t max_prompts = 64;

  /// Converts the weights of @p model, which must outlive this.
  explicit CudaT3(const chatterbox::T3& model);

  [[nodiscard]] const chatterbox::T3& model() const noexcept { return model_; }
  [[nodiscard]] KvCache make_cache(int num_pages) const;

  /// Runs prompts and stores their keys and values.
  /// @param prompts each [positions, hidden] fp32; at most max_prompts.
  /// @param block_table [prompts, max_pages] int32 on the GPU.
  /// @return speech logits of each prompt's last position, [max_prompts, speech_vocab] fp32; rows past the prompts are
  /// meaningless.
  [[nodiscard]] at::Tensor prefill(const std::vector<at::Tensor>& prompts, const at::Tensor& block_table,
                                   KvCache& cache) const;

  /// One decode step of all rows; may be captured in a CUDA graph.
  /// @param tokens [rows] int64. @param speech_positions [rows] int64. @param positions [rows] int32.
  /// @param block_table [rows, max_pages] int32. @return speech logits [rows, speech_vocab] fp32
  [[nodiscard]] at::Tensor decode(const at::Tensor& tokens, const at::Tensor& speech_positions,
                                  const at::Tensor& positions, const at::Tensor& block_table, KvCache& cache) const;

private:
  struct Layer {
    at::Tensor input_norm, post_norm;      // fp32 [hidden]
    at::Tensor qkv, output, gate_up, down; // bf16, transposed views [in, out]
  };
  [[nodiscard]] at::Tensor head(const at::Tensor& normed) const;

  const chatterbox::T3& model_;
  std::vector<Layer> layers_;
  at::Tensor speech_head_; // bf16 [hidden, speech_vocab] view
  at::Tensor every_row_;   // [0, 1, 2, …] int32: row r of a decode step reads sequence r
};

} // namespace audiobookd::engine::cuda
