// Continuous batching of T3 on a GPU in bf16: one CUDA graph per step, sampling on the GPU, the host running ahead.
//
// step() launches a few graph replays and looks at what the replays of the call before have reported, so the GPU never
// waits for the host. Not thread-safe: the engine thread owns it.
#pragma once

#include "engine/models/chatterbox/decoder.h"

#include <memory>

namespace audiobookd::engine::cuda {

/// Speech tokens that one utterance may take.
inline constexpr int longest_history = 1024;

/// A decoder for @p model, which lies on a GPU and must outlive it.
/// @param max_batch utterances decoded together, at most 8192; every step computes so many, whoever takes part: then
/// every matrix product runs the same algorithm. @param num_pages pages of bf16 KV cache for all of them.
std::unique_ptr<chatterbox::Decoder> make_cuda_decoder(const chatterbox::T3& model, int max_batch, int num_pages);

} // namespace audiobookd::engine::cuda
