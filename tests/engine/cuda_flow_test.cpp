// The bf16 flow on a GPU: kernels against ATen in fp32, the estimator and whole solutions against the fp32 solver, and
// utterances in company against the same alone.
#include "engine/cuda/cuda_flow.h"
#include "engine/cuda/device_pointers.h"
#include "engine/cuda/flow_kernels.h"
#include "engine/cuda/pack_weights.h"
#include "engine/models/chatterbox/cfm_decoder.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

#include <ATen/ATen.h>
#include <memory>

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::chatterbox::CfmDecoder;
using engine::chatterbox::Config;
using engine::chatterbox::FlowConditions;
using engine::cuda::bf16;
using engine::cuda::bf16_out;
using engine::cuda::CudaFlow;
using engine::cuda::FlowKernels;
using engine::cuda::fp32;
using engine::cuda::stream;

at::Tensor drawn(at::IntArrayRef shape) { return at::randn(shape).to(test_device()); }
at::Tensor drawn_bf16(at::IntArrayRef shape) { return drawn(shape).to(at::kBFloat16); }

/// One rounding to bf16.
constexpr double bf16_rounding = 4e-3;

void expect_add_layer_norm(int channels) {
  at::manual_seed(1);
  constexpr std::int64_t rows = 77;
  const at::Tensor residual = drawn({rows, channels});
  const at::Tensor delta = drawn_bf16({rows, channels});
  const at::Tensor bias = drawn({channels});
  const at::Tensor weight = drawn({channels});
  const at::Tensor shift = drawn({channels});
  const at::Tensor sum = residual + delta + bias;
  const at::Tensor out = at::empty({rows, channels}, delta.options());
  engine::cuda::add_layer_norm(residual.data_ptr<float>(), bf16(delta), fp32(bias), {fp32(weight), fp32(shift)},
                               bf16_out(out), rows, channels, stream());
  EXPECT_LT(relative_error(out, at::layer_norm(sum, {channels}, weight, shift, 1e-5)), bf16_rounding);
  EXPECT_TENSOR_NEAR(residual, sum, 1e-6);
}

TEST(GpuFlowKernels, LayerNormAddsTheResidualAndMatchesAten) {
  expect_add_layer_norm(256);
  expect_add_layer_norm(32);
}

TEST(GpuFlowKernels, MishOfANormMatchesAten) {
  at::manual_seed(2);
  constexpr std::int64_t rows = 70;
  constexpr int channels = 256;
  const at::Tensor x = drawn_bf16({rows, channels});
  const at::Tensor shortcut = drawn_bf16({rows, channels});
  const at::Tensor bias = drawn({channels});
  const at::Tensor weight = drawn({channels}) * 3;
  const at::Tensor shift = drawn({channels});
  const at::Tensor addend = drawn({channels});
  const at::Tensor expected = at::mish(at::layer_norm(x + bias, {channels}, weight, shift, 1e-5));
  const at::Tensor out = at::empty_like(x);
  engine::cuda::norm_mish(bf16(x), fp32(bias), {fp32(weight), fp32(shift)}, fp32(addend), bf16_out(out), rows, channels,
                          stream());
  EXPECT_LT(relative_error(out, expected + addend), bf16_rounding);
  const at::Tensor sum = at::empty({rows, channels}, bias.options());
  engine::cuda::norm_mish_shortcut(bf16(x), fp32(bias), {fp32(weight), fp32(shift)}, bf16(shortcut), fp32(addend),
                                   sum.data_ptr<float>(), rows, channels, stream());
  EXPECT_TENSOR_NEAR(sum, expected + shortcut + addend, 1e-4);
}

TEST(GpuFlowKernels, BiasAndGeluMatchAten) {
  at::manual_seed(3);
  const at::Tensor x = drawn_bf16({33, 1024}) * 3;
  const at::Tensor bias = drawn({1024});
  const at::Tensor expected = at::gelu(x + bias);
  engine::cuda::add_bias_gelu(bf16_out(x), fp32(bias), 33, 1024, stream());
  EXPECT_LT(relative_error(x, expected), bf16_rounding);
}

TEST(GpuFlowKernels, CausalWindowsStayInTheirSequence) {
  at::manual_seed(4);
  const PackedRows rows({5, 1, 9, 2}, test_device());
  const at::Tensor x = drawn_bf16({rows.total(), 40});
  std::vector<int> places;
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    for (int place = 0; place < rows.length(i); ++place) {
      places.push_back(place);
    }
  }
  const at::Tensor positions = at::tensor(places, at::kInt).to(test_device());
  const at::Tensor out = at::empty({rows.total(), 120}, x.options());
  engine::cuda::causal_windows(bf16(x), positions.const_data_ptr<int>(), bf16_out(out), rows.total(), 40, stream());
  const at::Tensor padded = at::constant_pad_nd(x, {0, 0, 2, 0});
  const at::Tensor windows = padded.as_strided({rows.total(), 3, 40}, {40, 40, 1});
  EXPECT_TRUE(at::equal(out, (windows * rows.window_mask(-2, 3)).to(at::kBFloat16).view({rows.total(), 120})));
}

TEST(GpuFlowKernels, EulerStepMatchesItsFormula) {
  at::manual_seed(5);
  const at::Tensor x = drawn({31, 80});
  const at::Tensor directions = drawn({2, 31, 80});
  const at::Tensor bias = drawn({80});
  const at::Tensor input = at::zeros({2, 31, 320}, x.options().dtype(at::kBFloat16));
  const at::Tensor expected = x + 0.3 * (CfmDecoder::guide(directions) + bias);
  engine::cuda::euler_step(x.data_ptr<float>(), fp32(directions), fp32(bias), bf16_out(input), 31,
                           {0.3F, static_cast<float>(engine::chatterbox::flow_guidance), 80, 320}, stream());
  EXPECT_TENSOR_NEAR(x, expected, 1e-5);
  for (int half = 0; half < 2; ++half) {
    EXPECT_TRUE(at::equal(input[half].narrow(1, 0, 80), x.to(at::kBFloat16)));
    EXPECT_TRUE(at::equal(input[half].narrow(1, 80, 240), at::zeros({31, 240}, input.options())));
  }
}

TEST(PackedWeights, TilesOfEightBitsHoldSixteenInputsInTheOrderOfSums) {
  const at::Tensor weight = at::arange(128 * 128).remainder(15).sub(7).view({128, 128}).to(at::kFloat);
  const at::Tensor packed = engine::cuda::pack_weights_e4m3(weight, 64).view(at::kFloat8_e4m3fn).to(at::kFloat);
  for (const auto& [row, column] : {std::pair{0, 0}, {1, 0}, {2, 17}, {63, 63}, {64, 0}, {77, 100}, {127, 127}}) {
    const std::int64_t tile = row / 64 * 2 + column / 64;
    const std::int64_t piece = (column % 64 / 16) ^ (row / 2 % 4);
    const std::int64_t in_piece = column % 8 / 2 * 4 + column % 16 / 8 * 2 + column % 2;
    const std::int64_t place = (tile * 64 + row % 64) * 64 + piece * 16 + in_piece;
    EXPECT_EQ(packed[place].item<float>(), weight[row][column].item<float>()) << row << ", " << column;
  }
}

TEST(PackedWeights, TilesHoldThePiecesOfTheSwizzle) {
  const at::Tensor weight = at::arange(128 * 128).remainder(251).view({128, 128}).to(at::kFloat);
  const at::Tensor packed = engine::cuda::pack_weights(weight, 64).to(at::kFloat);
  for (const auto& [row, column] : {std::pair{0, 0}, {1, 0}, {63, 63}, {64, 0}, {77, 100}, {127, 127}}) {
    const std::int64_t tile = row / 64 * 2 + column / 64;
    const std::int64_t piece = (column % 64 / 8) ^ (row % 8);
    const std::int64_t place = (tile * 64 + row % 64) * 64 + piece * 8 + column % 8;
    EXPECT_EQ(packed[place].item<float>(), weight[row][column].item<float>()) << row << ", " << column;
  }
}

/// The estimator at published size, shared by the tests of the suite.
class GpuFlow : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    const Config config;
    reference_ = std::make_unique<CfmDecoder>(
        config.flow, engine::StateDict::synthetic("full-size s3gen", test_device()).select("flow."));
  }
  static void TearDownTestSuite() { reference_.reset(); }

  struct Problem {
    PackedRows frames;
    at::Tensor x;
    FlowConditions conditions;
  };
  static Problem drawn_problem(const std::vector<std::int64_t>& lengths) {
    at::manual_seed(9);
    const PackedRows frames(lengths, test_device());
    const auto values = [&] { return drawn({frames.total(), 80}); };
    return {frames, values(), {values(), values(), values()}};
  }
  static Problem part_of(const Problem& whole, std::int64_t i) {
    const auto own = [&](const at::Tensor& t) {
      return t.narrow(0, whole.frames.start(i), whole.frames.length(i)).contiguous();
    };
    return {PackedRows({whole.frames.length(i)}, test_device()),
            own(whole.x),
            {own(whole.conditions.mu), own(whole.conditions.speaker), own(whole.conditions.prompt_mel)}};
  }
  static at::Tensor time(double value) { return at::full({1}, value, at::kFloat).to(test_device()); }

  static void expect_guided_pairs(FlowKernels kernels, double bound) {
    const c10::InferenceMode inference;
    const CudaFlow flow(*reference_, kernels);
    const Problem p = drawn_problem({48, 301, 7, 1, 2, 130, 1276});
    const at::Tensor expected = reference_->guided_pair(p.x, p.conditions, time(0.3), p.frames);
    const at::Tensor found = flow.guided_pair(p.x, p.conditions, time(0.3), p.frames);
    for (std::int64_t i = 0; i < p.frames.count(); ++i) {
      SCOPED_TRACE("utterance " + std::to_string(i));
      const auto own = [&](const at::Tensor& t) { return t.narrow(1, p.frames.start(i), p.frames.length(i)); };
      EXPECT_LT(relative_error(own(found), own(expected)), bound);
    }
  }

  static void expect_company_changes_nothing(FlowKernels kernels) {
    const c10::InferenceMode inference;
    const CudaFlow flow(*reference_, kernels);
    const Problem p = drawn_problem({48, 301, 7, 130});
    const at::Tensor together = flow.guided_pair(p.x, p.conditions, time(0.6), p.frames);
    for (std::int64_t i = 0; i < p.frames.count(); ++i) {
      SCOPED_TRACE("utterance " + std::to_string(i));
      const Problem own = part_of(p, i);
      const at::Tensor alone = flow.guided_pair(own.x, own.conditions, time(0.6), own.frames);
      const at::Tensor in_company = together.narrow(1, p.frames.start(i), p.frames.length(i));
      EXPECT_LT(relative_error(in_company, alone), 1e-4);
    }
  }

  static inline std::unique_ptr<CfmDecoder> reference_;
};

TEST_F(GpuFlow, GuidedPairsAreCloseToFp32) { expect_guided_pairs(FlowKernels::fastest, 5e-3); }

TEST_F(GpuFlow, GuidedPairsOfTheGeneralKernelsAreCloseToFp32) { expect_guided_pairs(FlowKernels::general, 5e-3); }

/// The same rounding with everything else in fp32 makes 1.4e-2 of sequences of 1, 7 and 130 frames.
TEST_F(GpuFlow, GuidedPairsInEightBitsAreCloseToFp32) { expect_guided_pairs(FlowKernels::fp8, 2.5e-2); }

TEST_F(GpuFlow, SolutionsAreCloseToFp32) {
  const c10::InferenceMode inference;
  const CudaFlow flow(*reference_);
  const Problem p = drawn_problem({48, 301, 130});
  const at::Tensor expected = reference_->solve(p.x, p.conditions, p.frames, 10, {});
  const at::Tensor found = flow.solve(p.x, p.conditions, p.frames, 10, {});
  EXPECT_LT(relative_error(found, expected), 5e-3);
  EXPECT_LT((found - expected).abs().mean().item<double>(), 1e-2);
}

/// The same rounding with everything else in fp32 makes 1.0e-2 and 4.0e-2 of a sequence of 150 frames.
TEST_F(GpuFlow, SolutionsInEightBitsAreCloseToFp32) {
  const c10::InferenceMode inference;
  const CudaFlow flow(*reference_, FlowKernels::fp8);
  const Problem p = drawn_problem({48, 301, 130});
  const at::Tensor expected = reference_->solve(p.x, p.conditions, p.frames, 10, {});
  const at::Tensor found = flow.solve(p.x, p.conditions, p.frames, 10, {});
  EXPECT_LT(relative_error(found, expected), 2e-2);
  EXPECT_LT((found - expected).abs().mean().item<double>(), 8e-2);
}

TEST_F(GpuFlow, CompanyChangesNothing) { expect_company_changes_nothing(FlowKernels::fastest); }

TEST_F(GpuFlow, CompanyChangesNothingInEightBits) { expect_company_changes_nothing(FlowKernels::fp8); }

TEST(GpuFlowTiny, EightBitsAreRefusedWhereTheKernelsDoNotSuit) {
  const CfmDecoder decoder(tiny_config().flow, tiny_weights().select("flow."));
  EXPECT_THROW(CudaFlow(decoder, FlowKernels::fp8), std::invalid_argument);
}

TEST(GpuFlowTiny, GuidedPairsAreCloseToTheReference) {
  AUDIOBOOKD_REQUIRE_CASE("cfm_estimator");
  const c10::InferenceMode inference;
  const GoldenCase golden("cfm_estimator");
  const CfmDecoder decoder(tiny_config().flow, tiny_weights().select("flow."));
  const CudaFlow flow(decoder);
  for (const std::string& unit : golden.units("dxdt")) {
    SCOPED_TRACE(unit);
    const auto frames_of = [&](const char* key) { return golden.on_device(unit + key).squeeze(0).t().contiguous(); };
    const at::Tensor mu = frames_of(".mu");
    const FlowConditions conditions{mu, golden.on_device(unit + ".spk").expand({mu.size(0), -1}), frames_of(".cond")};
    const at::Tensor pair = flow.guided_pair(frames_of(".x"), conditions, golden.on_device(unit + ".t"),
                                             PackedRows({mu.size(0)}, test_device()));
    EXPECT_LT(relative_error(pair.transpose(1, 2), golden.at(unit + ".dxdt")), 2e-2);
  }
}

} // namespace
} // namespace audiobookd::tests
