#include "engine/layers/kv_cache.h"

#include <ATen/ATen.h>

namespace audiobookd::engine {

std::int64_t KvCache::bytes(int num_layers, int num_heads, int head_dim, std::int64_t num_pages, at::ScalarType dtype) {
  const std::int64_t scaled = dtype == at::kFloat8_e4m3fn ? 1 : 0;
  return 2 * num_layers * num_pages * num_heads * page_size *
         (head_dim * static_cast<std::int64_t>(at::elementSize(dtype)) + scaled);
}

KvCache::KvCache(int num_layers, int num_heads, int head_dim, int num_pages, const at::TensorOptions& options)
    : keys_(at::empty({num_layers, num_pages + 1, num_heads, page_size, head_dim}, options)),
      values_(at::empty_like(keys_)) {
  keys_.select(1, scratch_page).zero_();
  values_.select(1, scratch_page).zero_();
  if (options.dtype() == at::kFloat8_e4m3fn) {
    exponents_ = at::zeros({num_layers, num_pages + 1, num_heads, 2, page_size}, options.dtype(at::kByte));
  }
  free_.reserve(num_pages);
  for (std::int32_t page = num_pages; page > scratch_page; --page) {
    free_.push_back(page);
  }
}

std::vector<std::int32_t> KvCache::reserve(int positions) {
  const auto count = static_cast<std::size_t>(pages_for(positions));
  if (count > free_.size()) {
    return {};
  }
  std::vector<std::int32_t> pages(free_.end() - static_cast<std::ptrdiff_t>(count), free_.end());
  free_.resize(free_.size() - count);
  return pages;
}

void KvCache::release(const std::vector<std::int32_t>& pages) { free_.insert(free_.end(), pages.begin(), pages.end()); }

void KvCache::write_prompt(int layer, const std::vector<std::int32_t>& pages, const at::Tensor& keys,
                           const at::Tensor& values) {
  const std::int64_t positions = keys.size(1);
  for (std::int64_t begin = 0, page = 0; begin < positions; begin += page_size, ++page) {
    const std::int64_t count = std::min<std::int64_t>(page_size, positions - begin);
    keys_[layer][pages[page]].narrow(1, 0, count).copy_(keys.narrow(1, begin, count));
    values_[layer][pages[page]].narrow(1, 0, count).copy_(values.narrow(1, begin, count));
  }
}

} // namespace audiobookd::engine
