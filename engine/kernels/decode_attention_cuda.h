// The CUDA side of decode_attention.h. In a CPU build these throw: no CUDA tensor can exist there.
#pragma once

#include "engine/kernels/decode_attention.h"

#include <stdexcept>

namespace audiobookd::engine::kernels {

#ifdef AUDIOBOOKD_WITH_CUDA
void rope_append_cuda(at::Tensor& qkv, const at::Tensor& cos_sin, PagedRows& rows);
at::Tensor decode_attention_cuda(const at::Tensor& qkv, const PagedRows& rows);
#else
[[noreturn]] inline void rope_append_cuda(at::Tensor&, const at::Tensor&, PagedRows&) {
  throw std::logic_error("rope_append: CUDA tensor in a CPU build");
}
[[noreturn]] inline at::Tensor decode_attention_cuda(const at::Tensor&, const PagedRows&) {
  throw std::logic_error("decode_attention: CUDA tensor in a CPU build");
}
#endif

} // namespace audiobookd::engine::kernels
