#include "engine/kernels/attended_position.h"

#include <ATen/ATen.h>

namespace audiobookd::engine::kernels {

at::Tensor attended_position(const at::Tensor& qkv, const PagedRows& rows, int head, const Span& span) {
  const std::int64_t dim = rows.keys.size(3);
  const at::Tensor queries = qkv.view({qkv.size(0), 3, -1, dim}).select(1, 0).select(1, head); // [rows, dim]
  const at::Tensor lengths = span.lengths.cpu();
  at::Tensor attended = at::full({qkv.size(0)}, -1, span.lengths.options());
  for (std::int64_t row = 0; row < qkv.size(0); ++row) {
    const std::int64_t length = lengths[row].item<std::int32_t>();
    if (length == 0) {
      continue;
    }
    const at::Tensor keys = rows.keys.select(1, head)
                                .index_select(0, rows.block_table[row])
                                .reshape({-1, dim})
                                .narrow(0, span.begin, length)
                                .to(at::kFloat);
    attended[row].copy_(at::mv(keys, queries[row]).argmax());
  }
  return attended;
}

} // namespace audiobookd::engine::kernels
