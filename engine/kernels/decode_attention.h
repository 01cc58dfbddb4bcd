// One decode step of attention over a paged KV cache, for rows of different lengths.
//
// Every row is computed by itself in a fixed order (positions are split at fixed places, never by how many rows or
// threads there are), so a row's result does not depend on its company, to the bit. Arithmetic is fp32; on the CPU the
// cache may be bf16: then keys and values are rounded when they are appended.
// decode_attention_reference() is the plain ATen version that tests compare with.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::engine::kernels {

/// Where the rows of a decode step keep their keys and values.
struct PagedRows {
  at::Tensor keys;        // [num_pages, num_heads, page_size, head_dim], one layer; fp32, or bf16 on the CPU
  at::Tensor values;      // same
  at::Tensor block_table; // [rows, max_pages] int32: page of position p is block_table[row][p / page_size]
  at::Tensor positions;   // [rows] int32: position of the new token; it attends to positions 0..position
};

/// Rotates the new queries and keys (halves rotated, as in Llama) and appends keys and values to the cache.
/// @param qkv [rows, 3 * num_heads * head_dim]; the query part is rotated in place.
/// @param cos_sin [max_positions, head_dim]: cosines of head_dim/2 frequencies, then sines.
void rope_append(at::Tensor& qkv, const at::Tensor& cos_sin, PagedRows& rows);

/// softmax(q k / sqrt(head_dim)) v for the new tokens.
/// @param qkv as left by rope_append().
/// @return [rows, num_heads * head_dim]
at::Tensor decode_attention(const at::Tensor& qkv, const PagedRows& rows);

/// The same by ATen, row by row, in fp32.
at::Tensor decode_attention_reference(const at::Tensor& qkv, const PagedRows& rows);

} // namespace audiobookd::engine::kernels
