// Llama decoder stack (Touvron et al. 2023) with llama3 rotary scaling, over embeddings instead of token ids.
//
// Matrices are fp32 or bf16; norms, rotary positions, attention and the residual stream are fp32 in either case.
// Immutable after construction; the KV cache is the caller's.
#pragma once

#include "engine/layers/kv_cache.h"
#include "engine/layers/text_watch.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine {

struct LlamaConfig {
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int head_dim = 0;
  int intermediate_size = 0;
  int max_positions = 0; ///< rows of the rotary table
};

/// Rotary table with "llama3" frequency scaling (factor 8, low 1, high 4, original length 8192, base 500000).
/// @return [max_positions, head_dim] fp32: cosines of head_dim / 2 frequencies, then sines.
at::Tensor llama3_rope_table(int max_positions, int head_dim);

/// The rows of one decode step.
struct DecodeRows {
  at::Tensor block_table; // [rows, max_pages] int32
  at::Tensor positions;   // [rows] int32
  TextWatch watch{};      // of these rows
};

class Llama {
public:
  struct Layer {
    at::Tensor input_norm; // [hidden] fp32
    at::Tensor qkv;        // [3 * num_heads * head_dim, hidden]
    at::Tensor output;     // [hidden, num_heads * head_dim]
    at::Tensor post_norm;  // [hidden] fp32
    at::Tensor gate_up;    // [2 * intermediate, hidden]
    at::Tensor down;       // [hidden, intermediate]
  };
  static constexpr double rms_eps = 1e-5;

  /// @param weights the dictionary at "tfmr.": layers.N.…, norm.weight.
  /// @param dtype of the matrices and of the cache: fp32 or bf16.
  Llama(const LlamaConfig& config, const StateDict& weights, at::ScalarType dtype);

  /// Runs whole prompts of equal length and stores their keys and values.
  /// @param embeddings [rows, positions, hidden]
  /// @param pages for each row the pages its keys and values go to.
  /// @return the last position's hidden state after the final norm, [rows, hidden].
  at::Tensor prefill(const at::Tensor& embeddings, const std::vector<std::vector<std::int32_t>>& pages,
                     KvCache& cache) const;

  /// Runs one new position of every row; a row's result does not depend on its company, to the bit.
  /// @param embeddings [rows, hidden]; how many rows is restricted as in kernels::row_linear().
  /// @return [rows, hidden] after the final norm.
  at::Tensor decode(const at::Tensor& embeddings, const DecodeRows& rows, KvCache& cache) const;

  [[nodiscard]] const LlamaConfig& config() const noexcept { return config_; }
  [[nodiscard]] at::ScalarType dtype() const noexcept { return dtype_; }
  [[nodiscard]] const std::vector<Layer>& layers() const noexcept { return layers_; }
  [[nodiscard]] const at::Tensor& norm() const noexcept { return norm_; }             // [hidden]
  [[nodiscard]] const at::Tensor& rope_table() const noexcept { return rope_table_; } // [max_positions, head_dim]

private:
  LlamaConfig config_;
  at::ScalarType dtype_;
  std::vector<Layer> layers_;
  at::Tensor norm_;       // [hidden]
  at::Tensor rope_table_; // [max_positions, head_dim]
};

} // namespace audiobookd::engine
