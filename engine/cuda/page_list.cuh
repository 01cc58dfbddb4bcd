// Where device code finds the cached positions of a sequence: see Pages in decode_kernels.h.
#pragma once

#include "engine/cuda/cache_element.cuh"
#include "engine/cuda/decode_kernels.h"
#include "engine/layers/kv_cache.h"

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace audiobookd::engine::cuda {

inline const __nv_bfloat16* bf16(const at::Tensor& t) {
  return reinterpret_cast<const __nv_bfloat16*>(t.const_data_ptr());
}
inline __nv_bfloat16* bf16(at::Tensor& t) { return reinterpret_cast<__nv_bfloat16*>(t.data_ptr()); }

constexpr int page_size = KvCache::page_size;

struct Layout {
  int num_heads, head_dim, max_pages;
};

/// A layer's cache for device code.
template <typename Element>
struct Cache {
  Element *keys, *values;
  std::uint8_t* exponents; // null in bf16

  /// Where the exponent of a key lies, and page_size further that of the value. @param at index of the head's first
  /// value of the position in keys. @param head_dim a power of two
  [[nodiscard]] __device__ std::uint8_t* exponent_at(std::size_t at, int head_dim) const {
    const std::size_t position = at / head_dim;
    return exponents + position / page_size * 2 * page_size + position % page_size;
  }
};

template <typename Element>
Cache<Element> cache_of(const Pages& pages) {
  return {static_cast<Element*>(pages.keys.mutable_data_ptr()), static_cast<Element*>(pages.values.mutable_data_ptr()),
          is_scaled<Element> ? pages.exponents.mutable_data_ptr<std::uint8_t>() : nullptr};
}

/// Calls @p launch with a value of the type that @p pages hold.
template <typename Launch>
void for_element_of(const Pages& pages, const Launch& launch) {
  if (pages.keys.scalar_type() == at::kFloat8_e4m3fn) {
    launch(Fp8());
  } else {
    TORCH_CHECK(pages.keys.scalar_type() == at::kBFloat16, "pages of bf16 or e4m3, not ", pages.keys.scalar_type());
    launch(Bf16());
  }
}

inline Layout layout_of(const Pages& pages) {
  TORCH_CHECK(pages.keys.size(2) == page_size, "pages of ", page_size, " positions, not ", pages.keys.size(2));
  return {static_cast<int>(pages.keys.size(1)), static_cast<int>(pages.keys.size(3)),
          static_cast<int>(pages.block_table.size(1))};
}

/// The pages of one sequence: those that it shares, then its own.
struct PageList {
  const int* pages;
  int shared; // positions

  __device__ PageList(const int* block_table, const int* shared_positions, int sequence, int max_pages)
      : pages(block_table + static_cast<std::int64_t>(sequence) * max_pages), shared(shared_positions[sequence]) {}

  [[nodiscard]] __device__ int shared_pages() const { return (shared + page_size - 1) / page_size; }
  /// Pages that the first @p length positions fill; length is not less than shared.
  [[nodiscard]] __device__ int pages_of(int length) const {
    return shared_pages() + (length - shared + page_size - 1) / page_size;
  }
  /// How many of the first @p length positions page number @p index of the list holds; not positive: none.
  [[nodiscard]] __device__ int count(int index, int length) const {
    const int before = shared_pages();
    const int left = index < before ? shared - index * page_size : length - shared - (index - before) * page_size;
    return min(page_size, left);
  }
  /// Where one head keeps a position: index of its first value in keys or values.
  [[nodiscard]] __device__ std::size_t at(int position, int head, const Layout& layout) const {
    const bool own = position >= shared;
    const int index = own ? position - shared : position;
    const std::int64_t page = pages[index / page_size + (own ? shared_pages() : 0)];
    return ((page * layout.num_heads + head) * page_size + index % page_size) * layout.head_dim;
  }
};

} // namespace audiobookd::engine::cuda
