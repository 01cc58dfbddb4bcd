#include "engine/cuda/cuda_flow_rows.h"

#include "engine/cuda/device_pointers.h"
#include "engine/cuda/flow_kernels_attention.h"
#include "engine/device.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace audiobookd::engine::cuda {
namespace {

/// All attention tiles of both halves, [tiles, 2] (sequence, tile), long sequences first so that the end is even.
at::Tensor attention_tiles(const PackedRows& rows) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(2 * rows.count()));
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](std::int64_t sequence) { return rows.length(sequence % rows.count()); };
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return length(a) > length(b); });
  std::vector<int> tiles;
  for (const std::int64_t sequence : order) {
    for (int tile = 0; tile * attention_tile < length(sequence); ++tile) {
      tiles.push_back(static_cast<int>(sequence));
      tiles.push_back(tile);
    }
  }
  return at::tensor(tiles, at::kInt).view({-1, 2});
}

template <class Element>
at::Tensor attend_on_hopper(const at::Tensor& qkv, const GuidedRows& rows, std::int64_t heads, at::ScalarType dtype) {
  at::Tensor out = at::empty({rows.total(), qkv.size(1) / 3}, qkv.options().dtype(dtype));
  const AttentionBatch batch{int32(rows.starts), reinterpret_cast<const AttentionTile*>(int32(rows.tiles)),
                             static_cast<int>(rows.tiles.size(0)), static_cast<int>(rows.total()),
                             static_cast<int>(heads)};
  flow_attention(bf16(qkv), batch, elements_out<Element>(out), stream());
  return out;
}

} // namespace

GuidedRows::GuidedRows(const PackedRows& rows, at::Device device) : frames(rows.total()), longest(rows.longest()) {
  std::vector<int> cumulative{0};
  at::Tensor places = at::empty({2, frames}, at::kInt);
  for (int half = 0; half < 2; ++half) {
    for (std::int64_t i = 0; i < rows.count(); ++i) {
      cumulative.push_back(cumulative.back() + static_cast<int>(rows.length(i)));
      int* const own = places.data_ptr<int>() + half * frames + rows.start(i);
      for (std::int64_t place = 0; place < rows.length(i); ++place) {
        own[place] = static_cast<int>(place);
      }
    }
  }
  positions = upload(places.view({-1}), device);
  starts = upload(at::tensor(cumulative, at::kInt), device);
  tiles = upload(attention_tiles(rows), device);
}

at::Tensor with_scaled_queries(const at::Tensor& weight, std::int64_t head_dim) {
  const std::int64_t inner = weight.size(0) / 3;
  const double scale = std::numbers::log2e / std::sqrt(static_cast<double>(head_dim));
  return at::cat({weight.narrow(0, 0, inner) * scale, weight.narrow(0, inner, 2 * inner)});
}

at::Tensor attend(const at::Tensor& qkv, const GuidedRows& rows, std::int64_t heads) {
  if (qkv.size(1) == 3 * heads * attention_head_size && is_hopper(qkv.device())) {
    return attend_on_hopper<__nv_bfloat16>(qkv, rows, heads, at::kBFloat16);
  }
  const at::Tensor parts = qkv.view({rows.total(), 3, heads, -1});
  return std::get<0>(at::_flash_attention_forward(parts.select(1, 0), parts.select(1, 1), parts.select(1, 2),
                                                  rows.starts, rows.starts, rows.longest, rows.longest, 0.0,
                                                  /*is_causal=*/false, /*return_debug_mask=*/false,
                                                  /*scale=*/std::numbers::ln2))
      .reshape({rows.total(), qkv.size(1) / 3});
}

at::Tensor attend_e4m3(const at::Tensor& qkv, const GuidedRows& rows, std::int64_t heads) {
  return attend_on_hopper<__nv_fp8_e4m3>(qkv, rows, heads, at::kByte);
}

} // namespace audiobookd::engine::cuda
