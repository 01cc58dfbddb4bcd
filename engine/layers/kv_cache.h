// Paged key/value cache of a decoder stack.
//
// Memory is cut into pages of page_size positions; a sequence reserves all the pages it can ever need when it is
// admitted, so nothing is evicted later. Not thread-safe: the decode thread owns it.
#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

namespace audiobookd::engine {

class KvCache {
public:
  /// Positions in one page.
  static constexpr int page_size = 32;
  /// Never handed out: padding rows of a decode batch write here.
  static constexpr std::int32_t scratch_page = 0;

  /// Pages needed for @p positions.
  static int pages_for(int positions) { return (positions + page_size - 1) / page_size; }
  /// Bytes of @p num_pages pages over all layers: keys, values and exponents.
  static std::int64_t bytes(int num_layers, int num_heads, int head_dim, std::int64_t num_pages, at::ScalarType dtype);

  /// @param num_pages usable pages; the scratch page comes on top. @param options in Float8_e4m3fn every key and value
  /// of a head has an exponent of its own; see exponents().
  KvCache(int num_layers, int num_heads, int head_dim, int num_pages, const at::TensorOptions& options);

  /// Takes pages for @p positions positions. Returns an empty vector when not enough are free.
  [[nodiscard]] std::vector<std::int32_t> reserve(int positions);
  /// Gives pages back.
  void release(const std::vector<std::int32_t>& pages);
  [[nodiscard]] int free_pages() const noexcept { return static_cast<int>(free_.size()); }

  /// Keys (or values) of one layer, [num_pages, num_heads, page_size, head_dim].
  [[nodiscard]] at::Tensor keys(int layer) const { return keys_[layer]; }
  [[nodiscard]] at::Tensor values(int layer) const { return values_[layer]; }

  /// In 8 bits: the powers of two that the keys and the values are to be multiplied by, plus 127; else undefined.
  /// [num_pages, num_heads, 2, page_size] uint8, keys first.
  [[nodiscard]] at::Tensor exponents(int layer) const {
    return exponents_.defined() ? exponents_[layer] : at::Tensor();
  }

  /// Writes a whole prompt of one sequence into its pages.
  /// @param keys, values [num_heads, positions, head_dim], positions counted from 0.
  void write_prompt(int layer, const std::vector<std::int32_t>& pages, const at::Tensor& keys,
                    const at::Tensor& values);

private:
  at::Tensor keys_;      // [num_layers, num_pages + 1, num_heads, page_size, head_dim]
  at::Tensor values_;    // same
  at::Tensor exponents_; // [num_layers, num_pages + 1, num_heads, 2, page_size]
  std::vector<std::int32_t> free_;
};

} // namespace audiobookd::engine
