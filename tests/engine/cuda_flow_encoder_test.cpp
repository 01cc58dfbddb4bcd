// The bf16 flow encoder on a GPU: kernels against ATen in fp32, whole utterances against the fp32 encoder, and
// utterances in company against the same alone.
#include "engine/cuda/cuda_flow_encoder.h"
#include "engine/cuda/device_pointers.h"
#include "engine/cuda/flow_encoder_kernels.h"
#include "engine/models/chatterbox/flow_encoder.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

#include <ATen/ATen.h>
#include <cmath>
#include <memory>

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::chatterbox::Config;
using engine::chatterbox::FlowEncoder;
using engine::cuda::bf16;
using engine::cuda::bf16_out;
using engine::cuda::CudaFlowEncoder;
using engine::cuda::fp32;
using engine::cuda::int32;
using engine::cuda::stream;

/// One rounding to bf16.
constexpr double bf16_rounding = 4e-3;

at::Tensor drawn(at::IntArrayRef shape) { return at::randn(shape).to(test_device()); }
at::Tensor rounded(const at::Tensor& x) { return x.to(at::kBFloat16).to(at::kFloat); }

TEST(GpuFlowEncoderKernels, NormsAddToTheResidualAndMatchAten) {
  at::manual_seed(31);
  for (const std::int64_t size : {512, 256, 64}) {
    SCOPED_TRACE(size);
    const at::Tensor residual = drawn({77, size});
    const at::Tensor delta = drawn({77, size}).to(at::kBFloat16);
    const at::Tensor weight = drawn({size});
    const at::Tensor bias = drawn({size});
    const at::Tensor sum = residual + delta;
    const at::Tensor out = at::empty_like(delta);
    engine::cuda::encoder_norm(residual.data_ptr<float>(), bf16(delta), {fp32(weight), fp32(bias)}, 1e-5F,
                               bf16_out(out), 77, static_cast<int>(size), stream());
    EXPECT_TENSOR_NEAR(residual, sum, 1e-6);
    const at::Tensor expected = at::layer_norm(sum, {size}, weight, bias, 1e-5);
    EXPECT_LT(relative_error(out, expected), bf16_rounding);
    engine::cuda::encoder_norm(residual.data_ptr<float>(), nullptr, {fp32(weight), fp32(bias)}, 1e-5F, bf16_out(out),
                               77, static_cast<int>(size), stream());
    EXPECT_TENSOR_NEAR(residual, sum, 1e-6);
    EXPECT_LT(relative_error(out, expected), bf16_rounding);
  }
}

TEST(GpuFlowEncoderKernels, WindowsStayInTheirSequence) {
  at::manual_seed(32);
  const PackedRows rows({5, 1, 9, 2}, test_device());
  std::vector<int> places;
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    for (int row = 0; row < rows.length(i); ++row) {
      places.push_back(row);
      places.push_back(static_cast<int>(rows.length(i)) - 1 - row);
    }
  }
  const at::Tensor places_there = at::tensor(places, at::kInt).to(test_device());
  const auto* place = reinterpret_cast<const engine::cuda::RowPlace*>(int32(places_there));
  const at::Tensor x = drawn({rows.total(), 40});
  for (const auto& [first, taps] : {std::pair{0, 4}, {-2, 3}, {-1, 3}}) {
    SCOPED_TRACE(first);
    const at::Tensor rectified = at::leaky_relu(x, 0.25);
    const at::Tensor padded = at::constant_pad_nd(rectified, {0, 0, -first, first + taps - 1});
    const at::Tensor expected =
        (padded.as_strided({rows.total(), taps, 40}, {40, 40, 1}) * rows.window_mask(first, taps)).flatten(1);
    const at::Tensor out = at::empty(expected.sizes(), x.options().dtype(at::kBFloat16));
    engine::cuda::sequence_windows(fp32(x), place, {first, taps, 0.25F}, bf16_out(out), rows.total(), 40, stream());
    EXPECT_TRUE(at::equal(out, expected.to(at::kBFloat16)));
    const at::Tensor half = x.to(at::kBFloat16);
    engine::cuda::sequence_windows(bf16(half), place, {first, taps, 0.25F}, bf16_out(out), rows.total(), 40, stream());
    EXPECT_LT(relative_error(out, expected), bf16_rounding);
  }
}

/// Attention of one sequence written out. @param qkv [length, 3, heads, 64]. @param table [2 * capacity, heads, 64].
/// @param constants [heads, 2 * capacity]. @return [length, heads * 64]
at::Tensor expected_attention(const at::Tensor& qkv, const at::Tensor& table, const at::Tensor& constants) {
  const std::int64_t length = qkv.size(0);
  const std::int64_t capacity = table.size(0) / 2;
  const auto heads_first = [&](std::int64_t part) { return qkv.select(1, part).transpose(0, 1); };
  const at::Tensor places = at::arange(length, at::TensorOptions(at::kLong).device(qkv.device()));
  const at::Tensor distance = capacity - 1 - places.unsqueeze(1) + places.unsqueeze(0); // [length, length]
  const at::Tensor by_distance =
      at::matmul(heads_first(0), table.permute({1, 2, 0})) + constants.unsqueeze(1); // [heads, length, 2 * capacity]
  const at::Tensor scores = at::matmul(heads_first(0), heads_first(1).transpose(1, 2)) +
                            by_distance.gather(2, distance.unsqueeze(0).expand({qkv.size(2), length, length}));
  return at::matmul(at::softmax(scores / 8, -1), heads_first(2)).transpose(0, 1).flatten(1);
}

TEST(GpuFlowEncoderKernels, RelativeAttentionMatchesAten) {
  at::manual_seed(33);
  constexpr std::int64_t heads = 3;
  constexpr int capacity = 600;
  const PackedRows rows({1, 470, 64, 65, 128, 129, 300, 17}, test_device());
  const at::Tensor qkv = rounded(drawn({rows.total(), 3, heads, 64}) * 1.5);
  const at::Tensor table = rounded(drawn({2 * capacity, heads, 64}));
  const at::Tensor constants = drawn({heads, 2 * capacity}) * 4;
  std::vector<int> starts;
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    starts.push_back(static_cast<int>(rows.start(i)));
  }
  starts.push_back(static_cast<int>(rows.total()));
  const at::Tensor starts_there = at::tensor(starts, at::kInt).to(test_device());
  const at::Tensor half_qkv = qkv.to(at::kBFloat16);
  const at::Tensor half_table = table.to(at::kBFloat16);
  const at::Tensor out = at::empty({rows.total(), heads * 64}, half_qkv.options());
  engine::cuda::relative_attention(bf16(half_qkv), {bf16(half_table), fp32(constants), capacity},
                                   {int32(starts_there), static_cast<int>(rows.count()), 470}, heads, bf16_out(out),
                                   stream());
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    SCOPED_TRACE("sequence of " + std::to_string(rows.length(i)));
    const at::Tensor expected = expected_attention(qkv.narrow(0, rows.start(i), rows.length(i)), table, constants);
    EXPECT_LT(relative_error(out.narrow(0, rows.start(i), rows.length(i)), expected), 2 * bf16_rounding);
  }
}

TEST(GpuFlowEncoderKernels, RelativeAttentionWantsPositionsForTheLongestSequence) {
  EXPECT_THROW(
      engine::cuda::relative_attention(nullptr, {nullptr, nullptr, 512}, {nullptr, 1, 400}, 8, nullptr, stream()),
      std::invalid_argument);
}

/// The encoder at published size, shared by the tests of the suite.
class GpuFlowEncoder : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    reference_ = std::make_unique<FlowEncoder>(
        Config().flow, engine::StateDict::synthetic("full-size s3gen", test_device()).select("flow."));
  }
  static void TearDownTestSuite() { reference_.reset(); }

  static at::Tensor drawn_tokens(const PackedRows& rows) {
    at::manual_seed(34);
    return at::randint(6561, {rows.total()}, at::kLong).to(test_device());
  }
  static inline std::unique_ptr<FlowEncoder> reference_;
};

TEST_F(GpuFlowEncoder, MeansAreCloseToFp32) {
  const c10::InferenceMode inference;
  CudaFlowEncoder encoder(*reference_);
  const PackedRows rows({48, 301, 7, 1, 2, 130, 638}, test_device());
  const at::Tensor tokens = drawn_tokens(rows);
  const at::Tensor expected = reference_->encode(tokens, rows);
  const at::Tensor found = encoder.encode(tokens, rows);
  ASSERT_EQ(found.sizes().vec(), expected.sizes().vec());
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    SCOPED_TRACE("utterance " + std::to_string(i));
    const auto own = [&](const at::Tensor& t) { return t.narrow(0, 2 * rows.start(i), 2 * rows.length(i)); };
    EXPECT_LT(relative_error(own(found), own(expected)), 1e-2);
  }
}

TEST_F(GpuFlowEncoder, CompanyChangesNothing) {
  const c10::InferenceMode inference;
  CudaFlowEncoder encoder(*reference_);
  const PackedRows rows({48, 301, 7, 130}, test_device());
  const at::Tensor tokens = drawn_tokens(rows);
  const at::Tensor together = encoder.encode(tokens, rows);
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    SCOPED_TRACE("utterance " + std::to_string(i));
    const at::Tensor alone =
        encoder.encode(tokens.narrow(0, rows.start(i), rows.length(i)), PackedRows({rows.length(i)}, test_device()));
    EXPECT_LT(relative_error(together.narrow(0, 2 * rows.start(i), 2 * rows.length(i)), alone), 1e-3);
  }
}

} // namespace
} // namespace audiobookd::tests
