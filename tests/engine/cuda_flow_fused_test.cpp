// The fused kernels of the flow against the same chain of ATen operations in fp32 on the same inputs: those in bf16,
// and those in e4m3 also with every operand rounded to e4m3 where the kernels round it.
#include "engine/cuda/flow_kernels_fused.h"
#include "engine/cuda/pack_weights.h"
#include "engine/layers/packed_rows.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <cmath>
#include <functional>

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
    engine::cuda::fused_entrance<__nv_bfloat16>(
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
  engine::cuda::fused_block<__nv_bfloat16>(
      {bf16(packed), fp32(out_bias), fp32(widen_bias), fp32(narrow_bias), fp32(projection_bias)}, bf16(half),
      residual.data_ptr<float>(), bf16_out(qkv), rows, stream());
  EXPECT_LT(relative_error(from_kernel_order(residual, rows), expected), 3e-3);
  EXPECT_LT(relative_error(qkv, at::linear(normalised(expected), qkv_weight, projection_bias)), 6e-3);

  const at::Tensor last = at::zeros({rows, channels}, half.options());
  const at::Tensor untouched = to_kernel_order(before);
  engine::cuda::fused_block<__nv_bfloat16>({bf16(packed), fp32(out_bias), fp32(widen_bias), fp32(narrow_bias), nullptr},
                                           bf16(half), untouched.data_ptr<float>(), bf16_out(last), rows, stream());
  EXPECT_LT(relative_error(last, expected), 5e-3);
  EXPECT_TRUE(at::equal(untouched, to_kernel_order(before)));
}

// ------------------------------------------------------------------------------------------------------------- e4m3

using Fp8 = __nv_fp8_e4m3;
using Rounding = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor exact(const at::Tensor& x) { return x; }
at::Tensor e4m3(const at::Tensor& x) { return x.to(at::kFloat8_e4m3fn).to(at::kFloat); }

/// The largest power of two that keeps @p x within e4m3.
float scale_of(const at::Tensor& x) {
  const auto largest = x.abs().max().item<double>();
  return largest > 0 ? static_cast<float>(std::exp2(std::floor(std::log2(448 / largest)))) : 1;
}

/// @p x times @p scale as the kernels want it of an attention. @return bytes
at::Tensor operand(const at::Tensor& x, float scale) {
  return (x * scale)
      .view({x.size(0), -1, 2, 4, 2})
      .transpose(2, 3)
      .reshape(x.sizes())
      .to(at::kFloat8_e4m3fn)
      .view(at::kByte);
}

/// What a block computes with, and its factors.
struct EightBitBlock {
  at::Tensor out, widen, narrow, qkv; // [out, in]
  at::Tensor out_bias = drawn({channels});
  at::Tensor widen_bias = drawn({4 * channels});
  at::Tensor narrow_bias = drawn({channels});
  at::Tensor projection_bias = drawn({3 * inner});
  static constexpr float attended_scale = 32;
  static constexpr float hidden_scale = 16;

  struct Result {
    at::Tensor residual, qkv, last;
  };

  [[nodiscard]] engine::cuda::Fp8Factors factors() const {
    using engine::cuda::fp8_norm_scale;
    const float projections = 1 / (fp8_norm_scale * scale_of(qkv));
    return {1 / (attended_scale * scale_of(out)),
            1 / (fp8_norm_scale * scale_of(widen)),
            hidden_scale / 2,
            1 / (hidden_scale * scale_of(narrow)),
            {projections, 2 * projections, projections}};
  }

  static at::Tensor packed(const at::Tensor& weight, std::int64_t tile) {
    return engine::cuda::pack_weights_e4m3(weight * scale_of(weight), tile);
  }

  /// By the kernels: as a block in the middle of a stage and as the last one.
  [[nodiscard]] Result run(const at::Tensor& attended, const at::Tensor& before) const {
    const auto rows = static_cast<int>(before.size(0));
    const at::Tensor by_turns =
        at::stack({packed(widen, 128).view({8, -1}), packed(narrow, channels).view({8, -1})}, 1).flatten();
    const at::Tensor weights = at::cat({packed(out, channels), by_turns, packed(qkv, channels)});
    const at::Tensor bytes = operand(attended, attended_scale);
    const auto factor = factors();
    const at::Tensor unscaled_bias =
        projection_bias /
        at::tensor(at::ArrayRef<float>(factor.projections, 3)).to(projection_bias.device()).repeat_interleave(inner);
    const auto* const matrices = static_cast<const Fp8*>(weights.const_data_ptr());
    const auto* const left = static_cast<const Fp8*>(bytes.const_data_ptr());
    const at::Tensor residual = to_kernel_order(before);
    const at::Tensor projections = at::zeros({rows, 3 * inner}, residual.options().dtype(at::kBFloat16));
    engine::cuda::fused_block<Fp8>(
        {matrices, fp32(out_bias), fp32(widen_bias), fp32(narrow_bias), fp32(unscaled_bias), factor}, left,
        residual.data_ptr<float>(), bf16_out(projections), rows, stream());
    const at::Tensor last = at::zeros({rows, channels}, projections.options());
    const at::Tensor untouched = to_kernel_order(before);
    engine::cuda::fused_block<Fp8>({matrices, fp32(out_bias), fp32(widen_bias), fp32(narrow_bias), nullptr, factor},
                                   left, untouched.data_ptr<float>(), bf16_out(last), rows, stream());
    EXPECT_TRUE(at::equal(untouched, to_kernel_order(before)));
    return {from_kernel_order(residual, rows), projections, last};
  }

  /// By ATen in fp32. @param round e4m3, or nothing
  [[nodiscard]] Result compute(const at::Tensor& attended, const at::Tensor& before, const Rounding& round) const {
    const auto product = [&](const at::Tensor& left, float scale, const at::Tensor& weight) {
      return at::linear(round(left * scale) / scale, round(weight * scale_of(weight)) / scale_of(weight));
    };
    const auto normal = [](const at::Tensor& x) { return at::layer_norm(x, {channels}, {}, {}, 1e-5); };
    const at::Tensor after_attention = before + product(attended, attended_scale, out) + out_bias;
    const at::Tensor hidden = at::gelu(product(normal(after_attention), 16, widen) + widen_bias);
    const at::Tensor residual = after_attention + product(hidden, hidden_scale, narrow) + narrow_bias;
    const at::Tensor sums = product(normal(residual), 16, qkv);
    return {residual,
            at::cat({sums.narrow(1, 0, inner), 2 * sums.narrow(1, inner, inner), sums.narrow(1, 2 * inner, inner)}, 1) +
                projection_bias,
            residual};
  }
};

/// Blocks in e4m3 over so many rows that a thread block of the kernel carries several tiles, the last turn is not full,
/// and the last tile neither.
class GpuFusedFlowInEightBits : public GpuFusedFlow {
protected:
  static constexpr std::int64_t rows_ = 35007;
  const at::Tensor attended_ = drawn({rows_, inner});
  const at::Tensor before_ = drawn({rows_, channels});

  [[nodiscard]] static at::Tensor nothing(std::int64_t out, std::int64_t in) {
    return at::zeros({out, in}, at::TensorOptions(test_device()));
  }
  /// How far from each other two results are of what has been added to @p before.
  static double error_of_sum(const at::Tensor& found, const at::Tensor& expected, const at::Tensor& before) {
    return relative_error(found.to(at::kFloat) - before, expected - before);
  }
};

// One product at a time, the others being zero, so that their rounding is not in the result. What is left are the
// tensor cores' sums of 14 bits: a product loses at most 2^-13 of the largest sum so far, 512 of them 1.6e-3 in the
// root mean square. One wrong column of 512 would be 6e-2.

TEST_F(GpuFusedFlowInEightBits, TheOutputProjectionMatchesItsEmulation) {
  const EightBitBlock block{.out = drawn_weight(channels, inner),
                            .widen = drawn_weight(4 * channels, channels),
                            .narrow = nothing(channels, 4 * channels),
                            .qkv = drawn_weight(3 * inner, channels)};
  const auto found = block.run(attended_, before_);
  const auto expected = block.compute(attended_, before_, e4m3);
  const at::Tensor before = before_ + block.out_bias + block.narrow_bias;
  EXPECT_LT(error_of_sum(found.residual, expected.residual, before), 3e-3);
  EXPECT_LT(relative_error(found.last, expected.last), 4e-3) << "rounded to bf16";
  EXPECT_GT(error_of_sum(block.compute(attended_, before_, exact).residual, expected.residual, before), 2e-2)
      << "the emulation rounds too little to be told from none";
}

TEST_F(GpuFusedFlowInEightBits, ProjectionsMatchTheirEmulation) {
  const EightBitBlock block{.out = nothing(channels, inner),
                            .widen = drawn_weight(4 * channels, channels),
                            .narrow = nothing(channels, 4 * channels),
                            .qkv = drawn_weight(3 * inner, channels)};
  const auto found = block.run(attended_, before_);
  const auto expected = block.compute(attended_, before_, e4m3);
  EXPECT_LT(relative_error(found.residual, expected.residual), 1e-6);
  EXPECT_LT(relative_error(found.qkv, expected.qkv), 4e-3) << "rounded to bf16";
  EXPECT_GT(relative_error(block.compute(attended_, before_, exact).qkv, expected.qkv), 2e-2);
}

/// Hidden values that differ by 5e-4, the error of GELU's tanh, are rounded to different neighbours, 1/8 to 1/16 apart,
/// in one of 200 cases: sqrt(1/200) / 11 = 6e-3.
TEST_F(GpuFusedFlowInEightBits, TheFeedForwardLayerMatchesItsEmulation) {
  const EightBitBlock block{.out = nothing(channels, inner),
                            .widen = drawn_weight(4 * channels, channels),
                            .narrow = drawn_weight(channels, 4 * channels),
                            .qkv = drawn_weight(3 * inner, channels)};
  const auto found = block.run(attended_, before_);
  const auto expected = block.compute(attended_, before_, e4m3);
  const at::Tensor before = before_ + block.out_bias + block.narrow_bias;
  EXPECT_LT(error_of_sum(found.residual, expected.residual, before), 1e-2);
  EXPECT_GT(error_of_sum(block.compute(attended_, before_, exact).residual, expected.residual, before), 3e-2);
}

/// An operand rounded to e4m3 is off by 2.6 % in the root mean square, a product of two by 3.7 %. One after the other,
/// and diluted by biases and residuals, they make 3.0, 2.7 and 3.8 % of such numbers.
TEST_F(GpuFusedFlowInEightBits, BlocksAreCloseToFp32) {
  const EightBitBlock block{.out = drawn_weight(channels, inner),
                            .widen = drawn_weight(4 * channels, channels),
                            .narrow = drawn_weight(channels, 4 * channels),
                            .qkv = drawn_weight(3 * inner, channels)};
  const auto found = block.run(attended_, before_);
  const auto expected = block.compute(attended_, before_, exact);
  EXPECT_LT(error_of_sum(found.residual, expected.residual, before_), 4e-2);
  EXPECT_LT(relative_error(found.last, expected.last), 4e-2);
  EXPECT_LT(relative_error(found.qkv, expected.qkv), 5e-2);
}

/// A row of one huge value is 16 there after LayerNorm, the largest that there is: nothing saturates.
TEST_F(GpuFusedFlowInEightBits, OutliersStayInRange) {
  const EightBitBlock block{.out = nothing(channels, inner),
                            .widen = drawn_weight(4 * channels, channels),
                            .narrow = nothing(channels, 4 * channels),
                            .qkv = drawn_weight(3 * inner, channels)};
  const at::Tensor before = before_.clone();
  for (std::int64_t row = 0; row < 256; ++row) {
    before[row][row] = row % 2 == 0 ? 1e6 : -1e6;
  }
  const auto found = block.run(attended_, before);
  const auto expected = block.compute(attended_, before, exact);
  EXPECT_LT(relative_error(found.qkv.narrow(0, 0, 256), expected.qkv.narrow(0, 0, 256)), 4e-2);
}

TEST_F(GpuFusedFlowInEightBits, EntrancesMatchTheirEmulation) {
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
    const float factor = 1 / (engine::cuda::fp8_norm_scale * scale_of(qkv_weight));
    const at::Tensor unscaled_bias = projection_bias / factor;
    const at::Tensor packed =
        at::cat({pack_weights(weight, channels).view(at::kByte), pack_weights(shortcut, channels).view(at::kByte),
                 EightBitBlock::packed(qkv_weight, channels)});
    const at::Tensor half_y = y.to(at::kBFloat16);
    const at::Tensor half_x = x.to(at::kBFloat16);
    const at::Tensor residual = at::zeros({engine::cuda::fused_residual_size(frames_.total())}, x.options());
    const at::Tensor qkv = at::zeros({frames_.total(), 3 * inner}, half_x.options());
    const at::Tensor places = positions();
    engine::cuda::fused_entrance<Fp8>({packed.const_data_ptr(),
                                       fp32(bias),
                                       {fp32(scale), fp32(shift)},
                                       fp32(shortcut_bias),
                                       fp32(unscaled_bias),
                                       {0, 0, 0, 0, {factor, factor, factor}}},
                                      {bf16(half_y), static_cast<int>(channels)},
                                      {bf16(half_x), static_cast<int>(columns)}, places.const_data_ptr<int>(),
                                      residual.data_ptr<float>(), bf16_out(qkv), static_cast<int>(frames_.total()),
                                      stream());
    const at::Tensor expected =
        at::mish(at::layer_norm(at::linear(windows(y), weight, bias), {channels}, scale, shift, 1e-5)) +
        at::linear(x, shortcut, shortcut_bias);
    const at::Tensor sums =
        at::linear(e4m3(normalised(expected) * 16), e4m3(qkv_weight * scale_of(qkv_weight))) * factor;
    EXPECT_LT(relative_error(from_kernel_order(residual, frames_.total()), expected), 1e-4);
    EXPECT_LT(relative_error(qkv, sums + projection_bias), 5e-3);
  }
}

} // namespace
} // namespace audiobookd::tests
