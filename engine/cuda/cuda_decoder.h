// Continuous batching of T3 on a GPU in bf16: one CUDA graph per step and size of the batch, sampling on the GPU, the
// host running ahead.
//
// step() launches a few graph replays and looks at what the replays of the call before have reported, so the GPU never
// waits for the host. Not thread-safe: the engine thread owns it.
#pragma once

#include "engine/models/chatterbox/decoder.h"

#include <memory>
#include <vector>

namespace audiobookd::engine::cuda {

/// Speech tokens that one utterance may take.
inline constexpr int longest_history = 1024;

struct CudaDecoderOptions {
  int max_batch = 0;     ///< utterances decoded together, at most 4096
  int num_pages = 0;     ///< pages of KV cache for all of them
  bool invariant = true; ///< tokens do not depend on the company, to the bit; false: faster, see CudaT3
  std::vector<AttentionHead> alignment_heads{}; ///< heads whose attention to the text is reported
  chatterbox::Reserve reserve{};                ///< for urgent requests
  at::ScalarType cache_dtype = at::kBFloat16;   ///< or Float8_e4m3fn: faster, but not what fp32 would say as exactly
};

/// A decoder for @p model, which lies on a GPU and must outlive it. Must be made on the stream it will run on, not the
/// default one: it captures graphs. @throws std::invalid_argument naming an alignment head that does not exist.
std::unique_ptr<chatterbox::Decoder> make_cuda_decoder(const chatterbox::T3& model, const CudaDecoderOptions& options);

} // namespace audiobookd::engine::cuda
