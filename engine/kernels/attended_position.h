// Which position of a span of the cache a head attends to most: the plain ATen version, for any device.
#pragma once

#include "engine/kernels/decode_attention.h"

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::kernels {

/// A part of the cached positions of each row.
struct Span {
  int begin = 0;      // the same in all rows
  at::Tensor lengths; // [rows] int32; 0: the row is left out
};

/// argmax over the span of q k, which is also that of the attention weights; of equal ones the first. Row by row: a
/// row's result does not depend on its company.
/// @param qkv [rows, 3 * num_heads * head_dim] as left by rope_append(). @return [rows] int32 from the span's begin;
/// -1 for rows left out
at::Tensor attended_position(const at::Tensor& qkv, const PagedRows& rows, int head, const Span& span);

} // namespace audiobookd::engine::kernels
