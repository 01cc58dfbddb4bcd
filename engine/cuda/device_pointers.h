// Tensors as the pointers that kernels take. Any thread may call these.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAContext.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::cuda {

/// The stream that ATen works on.
inline cudaStream_t stream() { return at::cuda::getCurrentCUDAStream(); }

/// Data of a bf16 tensor; null where it is undefined.
inline const __nv_bfloat16* bf16(const at::Tensor& t) {
  return t.defined() ? reinterpret_cast<const __nv_bfloat16*>(t.const_data_ptr()) : nullptr;
}
inline __nv_bfloat16* bf16_out(const at::Tensor& t) { return reinterpret_cast<__nv_bfloat16*>(t.data_ptr()); }

/// Data of a tensor of any type.
template <class Element>
const Element* elements(const at::Tensor& t) {
  return static_cast<const Element*>(t.const_data_ptr());
}
template <class Element>
Element* elements_out(const at::Tensor& t) {
  return static_cast<Element*>(t.data_ptr());
}

/// Data of an fp32 tensor; null where it is undefined.
inline const float* fp32(const at::Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }
inline float* fp32_out(const at::Tensor& t) { return t.data_ptr<float>(); }

/// Data of an int32 tensor.
inline const int* int32(const at::Tensor& t) { return t.const_data_ptr<int>(); }

} // namespace audiobookd::engine::cuda
