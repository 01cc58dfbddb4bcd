// Attention of sequences of different lengths to themselves, heads of 64, bf16 with fp32 sums. Hopper only (sm_90a).
// Launches on the given stream and returns at once; a sequence's result does not depend on its company.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::cuda {

inline constexpr int attention_head_size = 64;
/// Queries of one sequence and head that a thread block carries at a time.
inline constexpr int attention_tile = 192;

/// Part of the work: queries `tile` * attention_tile … of a sequence, all heads.
struct AttentionTile {
  int sequence;
  int tile;
};

struct AttentionBatch {
  const int* starts;          ///< [sequences + 1] cumulative lengths
  const AttentionTile* tiles; ///< [num_tiles] all tiles of all sequences, those of long sequences first
  int num_tiles;
  int rows; ///< of all sequences
  int heads;
};

/// Scores are powers of two, and not scaled: softmax takes 2^(query key). Queries have to come multiplied by
/// log2(e) / sqrt(64), which costs nothing where it is a factor of their weights.
/// @param qkv [rows, 3 * heads * 64]: queries, keys, values.
/// @param out [rows, heads * 64]; in e4m3 without a factor, and in the order of pack_weights_e4m3()
/// @tparam Element __nv_bfloat16 or __nv_fp8_e4m3
/// @throws c10::Error when the launch fails.
template <class Element>
void flow_attention(const __nv_bfloat16* qkv, const AttentionBatch& batch, Element* out, cudaStream_t stream);

} // namespace audiobookd::engine::cuda
