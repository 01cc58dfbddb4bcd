// Which position of their text the rows of a decode step attend to: a kernel beside attention, for watched heads alone.
#pragma once

#include "engine/cuda/decode_kernels.h"
#include "engine/layers/text_watch.h"

#include <ATen/core/Tensor.h>
#include <cstddef>

namespace audiobookd::engine::cuda {

/// Writes column @p slot of watch.attended, the text positions that head watch.heads[slot] of this layer attends to
/// most, for every row whose sequence is watched; parked rows are left alone. The oracle is
/// kernels::attended_position(). Launches on the current stream and returns at once.
/// @param qkv, cos_sin, positions, sequences, pages as for decode_attention(). @param watch lengths and attended by
/// sequence.
void attended_text(const at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& positions,
                   const at::Tensor& sequences, const Pages& pages, const TextWatch& watch, std::size_t slot);

} // namespace audiobookd::engine::cuda
