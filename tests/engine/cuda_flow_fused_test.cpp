// The fused kernels of the bf16 flow against the same chain of ATen operations in fp32 on the same bf16 inputs.
#include "engine/cuda/flow_kernels_fused.h"
#include "engine/cuda/pack_weights.h"
#include "engine/layers/packed_rows.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::cuda::pack_weights;

constexpr std::int64_t channels = 256;
constexpr std::int64_t inner = 512;

at::Tensor drawn(at::IntArrayRef shape) { return at::randn(shape).to(test_device()); }
/// Values that bf16 holds exactly.
at::Tensor drawn_short(at::IntArrayRef shape) { return drawn(shape).to(at::kBFloat16).to(at::kFloat); }
at::Tensor drawn_weight(std::int64_t out, std::int64_t in) {
  return (drawn({out, in}) / std::sqrt(static_cast<double>(in))).to(at::kBFloat16).to(at::kFloat);
}
const __nv_bfloat16* bf16(const at::Tensor& t) { return reinterpret_cast<const __nv_bfloat16*>(t.const_data_ptr()); }
__nv_bfloat16* bf16_out(const at::Tensor& t) { return reinterpret_cast<__nv_bfloat16*>(t.data_ptr()); }
const float* fp32(const at::Tensor& t) { return t.const_data_ptr<float>(); }
/// A residual stream in the kernels' order, and back. @param x [rows, channels]
at::Tensor to_kernel_order(const at::Tensor& x) {
  const std::int64_t missing = engine::cuda::fused_residual_size(x.size(0)) / channels - x.size(0);
  return at::constant_pad_nd(x, {0, 0, 0, missing})
      .view({-1, 8, 2, 8, 32, 4, 2})
      .permute({0, 1, 4, 3, 5, 2, 6})
      .flatten();
}
at::Tensor from_kernel_order(const at::Tensor& residual, std::int64_t rows) {
  return residual.view({-1, 8, 32, 8, 4, 2, 2})
      .permute({0, 1, 5, 3, 2, 4, 6})
      .reshape({-1, channels})
      .narrow(0, 0, rows);
}
cudaStream_t stream() { return at::cuda::getCurrentCUDAStream(); }

class GpuFusedFlow : public ::testing::Test {
protected:
  /// Rows that fill no tile, sequences that begin anywhere in a tile.
  void SetUp() override { at::manual_seed(11); }

  [[nodiscard]] at::Tensor positions() const {
    std::vector<int> places;
    for (std::int64_t i = 0; i < frames_.count(); ++i) {
      for (int place = 0; place < frames_.length(i); ++place) {
        places.push_back(place);
      }
    }
    return at::tensor(places, at::kInt).to(test_device());
  }
  /// Rows n - 2, n - 1, n side by side.
  [[nodiscard]] at::Tensor windows(const at::Tensor& x) const {
    const std::int64_t columns = x.size(1);
    const at::Tensor padded = at::constant_pad_nd(x, {0, 0, 2, 0});
    return (padded.as_strided({x.size(0), 3, columns}, {columns, columns, 1}) * frames_.window_mask(-2, 3))
        .view({x.size(0), 3 * columns});
  }
  [[nodiscard]] static at::Tensor normalised(const at::Tensor& x) {
    return at::layer_norm(x, {channels}, {}, {}, 1e-5);
  }

  PackedRows frames_{{300, 1, 2, 125, 3, 640, 77}, test_device()};
};

TEST_F(GpuFusedFlow, ConvolutionsMatchAten) {
  for (const std::int64_t columns : {256, 320, 512}) {
    SCOPED_TRACE(columns);
    const at::Tensor x = drawn_short({frames_.total(), columns});
    const at::Tensor weight = drawn_weight(channels, 3 * columns);
    const at::Tensor bias = drawn({channels});
    const at::Tensor scale = drawn({channels});
    const at::Tensor shift = drawn({channels});
    const at::Tensor addend = drawn({channels});
    const at::Tensor packed = pack_weights(weight, channels);
    const at::Tensor half = x.to(at::kBFloat16);
    const at::Tensor places = positions();
    const at::Tensor sum = at::linear(windows(x), weight, bias);
    const at::Tensor out = at::full({frames_.total(), channels}, 7, half.options());
    const auto rows = static_cast<int>(frames_.total());
    engine::cuda::fused_convolution({bf16(packed), fp32(bias), {nullptr, nullptr}, nullptr},
                                    {bf16(half), static_cast<int>(columns)}, places.const_data_ptr<int>(),
                                    bf16_out(out), rows, stream());
    EXPECT_LT(relative_error(out, sum), 4e-3);
    engine::cuda::fused_convolution({bf16(packed), fp32(bias), {fp32(scale), fp32(shift)}, fp32(addend)},
                                    {bf16(half), static_cast<int>(columns)}, places.const_data_ptr<int>(),
                                    bf16_out(out), rows, stream());
    EXPECT_LT(relative_error(out, at::mish(at::layer_norm(sum, {channels}, scale, shift, 1e-5)) + addend), 4e-3);
  }
}

TEST_F(GpuFusedFlow, EntranceMatchesAten) {
  for (const std::int64_t columns : {256, 320, 512}) {
    SCOPED_TRACE(columns);
    const at::Tensor y = drawn_short({frames_.total(), channels});
    const at::Tensor x = drawn_short({frames_.total(), columns});
    const at::Tensor weight = drawn_weight(channels, 3 * channels);
    const at::Tensor shortcut = drawn_weight(channels, columns);
    const at::Tensor qkv_weight = drawn_weight(3 * inner, channels);
    const at::Tensor bias = drawn({channels});
    const at::Tensor scale = drawn({channels});
    const at::Tensor shift = drawn({channels});
    const at::Tensor shortcut_bias = drawn({channels});
    const at::Tensor projection_bias = drawn({3 * inner});
    const at::Tensor packed =
        at::cat({pack_weights(weight, channels), pack_weights(shortcut, channels), pack_weights(qkv_weight, channels)});
    const at::Tensor half_y = y.to(at::kBFloat16);
    const at::Tensor half_x = x.to(at::kBFloat16);
    const at::Tensor residual = at::zeros({engine::cuda::fused_residual_size(frames_.total())}, x.options());
    const at::Tensor qkv = at::zeros({frames_.total(), 3 * inner}, half_x.options());
    const at::Tensor places = positions();
    engine::cuda::fused_entrance(
        {bf16(packed), fp32(bias), {fp32(scale), fp32(shift)}, fp32(shortcut_bias), fp32(projection_bias)},
        {bf16(half_y), static_cast<int>(channels)}, {bf16(half_x), static_cast<int>(columns)},
        places.const_data_ptr<int>(), residual.data_ptr<float>(), bf16_out(qkv), static_cast<int>(frames_.total()),
        stream());
    const at::Tensor expected =
        at::mish(at::layer_norm(at::linear(windows(y), weight, bias), {channels}, scale, shift, 1e-5)) +
        at::linear(x, shortcut, shortcut_bias);
    EXPECT_LT(relative_error(from_kernel_order(residual, frames_.total()), expected), 1e-4);
    EXPECT_LT(relative_error(qkv, at::linear(normalised(expected), qkv_weight, projection_bias)), 5e-3);
  }
}

TEST_F(GpuFusedFlow, BlocksMatchAten) {
  const at::Tensor attended = drawn_short({frames_.total(), inner});
  const at::Tensor before = drawn({frames_.total(), channels});
  const at::Tensor out_weight = drawn_weight(channels, inner);
  const at::Tensor widen = drawn_weight(4 * channels, channels);
  const at::Tensor narrow = drawn_weight(channels, 4 * channels);
  const at::Tensor qkv_weight = drawn_weight(3 * inner, channels);
  const at::Tensor out_bias = drawn({channels});
  const at::Tensor widen_bias = drawn({4 * channels});
  const at::Tensor narrow_bias = drawn({channels});
  const at::Tensor projection_bias = drawn({3 * inner});
  const at::Tensor by_turns =
      at::stack({pack_weights(widen, 128).view({8, -1}), pack_weights(narrow, channels).view({8, -1})}, 1).flatten();
  const at::Tensor packed = at::cat({pack_weights(out_weight, channels), by_turns, pack_weights(qkv_weight, channels)});
  const at::Tensor half = attended.to(at::kBFloat16);
  const auto rows = static_cast<int>(frames_.total());

  const at::Tensor after_attention = before + at::linear(attended, out_weight, out_bias);
  const at::Tensor hidden = at::gelu(at::linear(normalised(after_attention), widen, widen_bias));
  const at::Tensor expected = after_attention + at::linear(hidden, narrow, narrow_bias);

  const at::Tensor residual = to_kernel_order(before);
  const at::Tensor qkv = at::zeros({rows, 3 * inner}, half.options());
  engine::cuda::fused_block({bf16(packed), fp32(out_bias), fp32(widen_bias), fp32(narrow_bias), fp32(projection_bias)},
                            bf16(half), residual.data_ptr<float>(), bf16_out(qkv), rows, stream());
  EXPECT_LT(relative_error(from_kernel_order(residual, rows), expected), 3e-3);
  EXPECT_LT(relative_error(qkv, at::linear(normalised(expected), qkv_weight, projection_bias)), 6e-3);

  const at::Tensor last = at::zeros({rows, channels}, half.options());
  const at::Tensor untouched = to_kernel_order(before);
  engine::cuda::fused_block({bf16(packed), fp32(out_bias), fp32(widen_bias), fp32(narrow_bias), nullptr}, bf16(half),
                            untouched.data_ptr<float>(), bf16_out(last), rows, stream());
  EXPECT_LT(relative_error(last, expected), 5e-3);
  EXPECT_TRUE(at::equal(untouched, to_kernel_order(before)));
}

} // namespace
} // namespace audiobookd::tests
