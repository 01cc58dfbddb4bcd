#include "engine/kernels/decode_attention.h"

#include "engine/kernels/decode_attention_cuda.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <bit>
#include <cmath>
#include <vector>

// The same source for several instruction sets; the fastest the CPU has is chosen when the program starts.
#define AUDIOBOOKD_CPU_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))

namespace audiobookd::engine::kernels {
namespace {

struct Shape {
  std::int64_t num_rows, num_heads, head_dim, page_size, max_pages;
};

Shape shape_of(const at::Tensor& qkv, const PagedRows& rows) {
  return {qkv.size(0), rows.keys.size(1), rows.keys.size(3), rows.keys.size(2), rows.block_table.size(1)};
}

AUDIOBOOKD_CPU_CLONES void rotate(float* x, const float* cos_sin, std::int64_t head_dim) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    x[i] = a * cos_sin[i] - b * cos_sin[i + half];
    x[i + half] = b * cos_sin[i] + a * cos_sin[i + half];
  }
}

inline __attribute__((always_inline)) float widen(float x) { return x; }
// BFloat16's own conversion keeps gcc from vectorising.
inline __attribute__((always_inline)) float widen(at::BFloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.x) << 16);
}

template <typename Cached>
inline __attribute__((always_inline)) float dot_of(const float* a, const Cached* b, std::int64_t n) {
  constexpr int lanes = 16; // partial sums side by side: vectorisable without reordering by the compiler
  float sums[lanes] = {};
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int lane = 0; lane < lanes; ++lane) {
      sums[lane] += a[i + lane] * widen(b[i + lane]);
    }
  }
  float sum = 0;
  for (; i < n; ++i) {
    sum += a[i] * widen(b[i]);
  }
  for (float lane_sum : sums) {
    sum += lane_sum;
  }
  return sum;
}

template <typename Cached>
inline __attribute__((always_inline)) void add_scaled_of(float* out, const Cached* x, float scale, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] += scale * widen(x[i]);
  }
}

// One function for each type of cache: function templates cannot be cloned.
AUDIOBOOKD_CPU_CLONES float dot(const float* a, const float* b, std::int64_t n) { return dot_of(a, b, n); }
AUDIOBOOKD_CPU_CLONES float dot(const float* a, const at::BFloat16* b, std::int64_t n) { return dot_of(a, b, n); }
AUDIOBOOKD_CPU_CLONES void add_scaled(float* out, const float* x, float scale, std::int64_t n) {
  add_scaled_of(out, x, scale, n);
}
AUDIOBOOKD_CPU_CLONES void add_scaled(float* out, const at::BFloat16* x, float scale, std::int64_t n) {
  add_scaled_of(out, x, scale, n);
}

/// Attention of one head of one row. @param scores scratch for position + 1 floats.
template <typename Cached>
void attend_head(const float* query, const Cached* keys, const Cached* values, const std::int32_t* pages,
                 std::int64_t position, std::int64_t head, const Shape& s, float* scores, float* out) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  const std::int64_t page_stride = s.num_heads * s.page_size * s.head_dim;
  const auto offset = [&](std::int64_t p) {
    return pages[p / s.page_size] * page_stride + (head * s.page_size + p % s.page_size) * s.head_dim;
  };
  float largest = -INFINITY;
  for (std::int64_t p = 0; p <= position; ++p) {
    scores[p] = scale * dot(query, keys + offset(p), s.head_dim);
    largest = std::max(largest, scores[p]);
  }
  float total = 0;
  std::fill(out, out + s.head_dim, 0.0f);
  for (std::int64_t p = 0; p <= position; ++p) {
    const float weight = std::exp(scores[p] - largest);
    total += weight;
    add_scaled(out, values + offset(p), weight, s.head_dim);
  }
  for (std::int64_t i = 0; i < s.head_dim; ++i) {
    out[i] /= total;
  }
}

template <typename Cached>
void rope_append_cpu(at::Tensor& qkv, const at::Tensor& cos_sin, PagedRows& rows) {
  const Shape s = shape_of(qkv, rows);
  const std::int64_t hidden = s.num_heads * s.head_dim;
  auto* const qkv_data = qkv.data_ptr<float>();
  const auto* const table = cos_sin.const_data_ptr<float>();
  const auto* const positions = rows.positions.const_data_ptr<std::int32_t>();
  const auto* const pages = rows.block_table.const_data_ptr<std::int32_t>();
  auto* const keys = rows.keys.data_ptr<Cached>();
  auto* const values = rows.values.data_ptr<Cached>();
  for (std::int64_t row = 0; row < s.num_rows; ++row) {
    const std::int64_t position = positions[row];
    const std::int64_t page = pages[row * s.max_pages + position / s.page_size];
    for (std::int64_t head = 0; head < s.num_heads; ++head) {
      float* const q = qkv_data + row * 3 * hidden + head * s.head_dim;
      rotate(q, table + position * s.head_dim, s.head_dim);
      rotate(q + hidden, table + position * s.head_dim, s.head_dim);
      const std::int64_t at = ((page * s.num_heads + head) * s.page_size + position % s.page_size) * s.head_dim;
      std::copy_n(q + hidden, s.head_dim, keys + at);
      std::copy_n(q + 2 * hidden, s.head_dim, values + at);
    }
  }
}

template <typename Cached>
at::Tensor decode_attention_cpu(const at::Tensor& qkv, const PagedRows& rows) {
  const Shape s = shape_of(qkv, rows);
  const std::int64_t hidden = s.num_heads * s.head_dim;
  at::Tensor out = at::empty({s.num_rows, hidden}, qkv.options());
  const auto* const qkv_data = qkv.const_data_ptr<float>();
  const auto* const positions = rows.positions.const_data_ptr<std::int32_t>();
  const auto* const pages = rows.block_table.const_data_ptr<std::int32_t>();
  const auto* const keys = rows.keys.const_data_ptr<Cached>();
  const auto* const values = rows.values.const_data_ptr<Cached>();
  auto* const out_data = out.data_ptr<float>();
  at::parallel_for(0, s.num_rows * s.num_heads, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores(static_cast<std::size_t>(s.max_pages * s.page_size));
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / s.num_heads;
      const std::int64_t head = i % s.num_heads;
      attend_head(qkv_data + row * 3 * hidden + head * s.head_dim, keys, values, pages + row * s.max_pages,
                  positions[row], head, s, scores.data(), out_data + row * hidden + head * s.head_dim);
    }
  });
  return out;
}

} // namespace

void rope_append(at::Tensor& qkv, const at::Tensor& cos_sin, PagedRows& rows) {
  TORCH_CHECK(qkv.is_contiguous() && qkv.scalar_type() == at::kFloat, "rope_append: qkv must be contiguous fp32");
  if (qkv.is_cuda()) {
    rope_append_cuda(qkv, cos_sin, rows);
  } else if (rows.keys.scalar_type() == at::kBFloat16) {
    rope_append_cpu<at::BFloat16>(qkv, cos_sin, rows);
  } else {
    rope_append_cpu<float>(qkv, cos_sin, rows);
  }
}

at::Tensor decode_attention(const at::Tensor& qkv, const PagedRows& rows) {
  TORCH_CHECK(qkv.is_contiguous() && qkv.scalar_type() == at::kFloat, "decode_attention: qkv must be contiguous fp32");
  if (qkv.is_cuda()) {
    return decode_attention_cuda(qkv, rows);
  }
  return rows.keys.scalar_type() == at::kBFloat16 ? decode_attention_cpu<at::BFloat16>(qkv, rows)
                                                  : decode_attention_cpu<float>(qkv, rows);
}

at::Tensor decode_attention_reference(const at::Tensor& qkv, const PagedRows& rows) {
  const Shape s = shape_of(qkv, rows);
  const at::Tensor positions = rows.positions.cpu();
  const at::Tensor queries = qkv.view({s.num_rows, 3, s.num_heads, 1, s.head_dim}).select(1, 0);
  std::vector<at::Tensor> out;
  for (std::int64_t row = 0; row < s.num_rows; ++row) {
    const std::int64_t length = positions[row].item<std::int32_t>() + 1;
    const auto gather = [&](const at::Tensor& cache) { // [num_heads, length, head_dim]
      return cache.index_select(0, rows.block_table[row])
          .transpose(0, 1)
          .reshape({s.num_heads, -1, s.head_dim})
          .narrow(1, 0, length)
          .to(at::kFloat);
    };
    const at::Tensor scores =
        at::matmul(queries[row], gather(rows.keys).transpose(1, 2)) / std::sqrt(double(s.head_dim));
    out.push_back(at::matmul(at::softmax(scores, -1), gather(rows.values)).reshape({-1}));
  }
  return at::stack(out);
}

} // namespace audiobookd::engine::kernels
