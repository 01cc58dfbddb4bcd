// The flow's attention on a GPU against ATen in fp32, sequence by sequence.
#include "engine/cuda/cuda_flow_rows.h"
#include "engine/layers/packed_rows.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <cmath>
#include <numbers>

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::cuda::GuidedRows;

/// The same sums rounded to e4m3 and to bf16: apart by half of e4m3's last bit (2^-4, or 2^-10 below 2^-6) and of
/// bf16's.
/// @param bytes e4m3 in the order of pack_weights_e4m3()
void expect_same_in_e4m3(const at::Tensor& bytes, const at::Tensor& expected) {
  const at::Tensor found = bytes.view(at::kFloat8_e4m3fn)
                               .to(at::kFloat)
                               .view({bytes.size(0), -1, 4, 2, 2})
                               .transpose(2, 3)
                               .reshape(expected.sizes());
  const at::Tensor right = expected.to(at::kFloat);
  const at::Tensor bound = right.abs() * (0x1p-4 + 0x1p-8) + 0x1p-10;
  EXPECT_EQ(((found - right).abs() > bound).sum().item<std::int64_t>(), 0);
}

/// @param spread of scores: large ones make a softmax that few keys share.
void expect_attention(const std::vector<std::int64_t>& lengths, std::int64_t heads, std::int64_t dim, double spread) {
  const c10::InferenceMode inference;
  at::manual_seed(31);
  const PackedRows rows(lengths, test_device());
  const GuidedRows guided(rows, test_device());
  at::Tensor qkv = at::randn({guided.total(), 3, heads, dim});
  qkv.select(1, 0).mul_(spread * std::numbers::log2e / std::sqrt(static_cast<double>(dim)));
  qkv = qkv.to(test_device(), at::kBFloat16).view({guided.total(), -1});
  const at::Tensor found = engine::cuda::attend(qkv, guided, heads);
  if (dim == 64) {
    expect_same_in_e4m3(engine::cuda::attend_e4m3(qkv, guided, heads), found);
  }
  for (std::int64_t half = 0; half < 2; ++half) {
    for (std::int64_t i = 0; i < rows.count(); ++i) {
      SCOPED_TRACE(std::to_string(rows.length(i)) + " rows of half " + std::to_string(half));
      const std::int64_t start = half * rows.total() + rows.start(i);
      const at::Tensor own = qkv.narrow(0, start, rows.length(i))
                                 .to(at::kFloat)
                                 .view({rows.length(i), 3, heads, dim})
                                 .permute({1, 2, 0, 3});
      const at::Tensor expected =
          at::scaled_dot_product_attention(own[0], own[1], own[2], {}, 0.0, false, std::numbers::ln2)
              .transpose(0, 1)
              .reshape({rows.length(i), heads * dim});
      const at::Tensor difference = found.narrow(0, start, rows.length(i)).to(at::kFloat) - expected;
      EXPECT_LT((difference.norm() / expected.norm()).item<double>(), 5e-3);
    }
  }
}

TEST(GpuFlowAttention, MatchesAten) { expect_attention({1, 2, 63, 64, 65, 127, 128, 129, 300, 1276}, 8, 64, 1); }

TEST(GpuFlowAttention, MatchesAtenWhereFewKeysMatter) {
  for (const double spread : {5, 12, 25}) { // scores with a reference point in no, some, all rows
    SCOPED_TRACE(spread);
    expect_attention({5, 200, 640}, 8, 64, spread);
  }
}

TEST(GpuFlowAttention, MatchesAtenWhereExponentialsLeaveTheRangeOfFloats) {
  expect_attention({5, 130, 200, 1000}, 8, 64, 150);
}

TEST(GpuFlowAttention, MatchesAtenForOtherHeads) { expect_attention({5, 200, 33}, 4, 16, 1); }

TEST(GpuFlowAttention, CompanyDoesNotChangeABit) {
  const c10::InferenceMode inference;
  at::manual_seed(32);
  const PackedRows rows({77, 700, 130}, test_device());
  const GuidedRows guided(rows, test_device());
  const at::Tensor qkv = at::randn({guided.total(), 1536}).to(test_device(), at::kBFloat16);
  const at::Tensor together = engine::cuda::attend(qkv, guided, 8);
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    const auto own = [&](const at::Tensor& t) {
      return at::cat(
          {t.narrow(0, rows.start(i), rows.length(i)), t.narrow(0, rows.total() + rows.start(i), rows.length(i))});
    };
    const GuidedRows alone(PackedRows({rows.length(i)}, test_device()), test_device());
    EXPECT_TRUE(at::equal(engine::cuda::attend(own(qkv), alone, 8), own(together))) << "sequence " << i;
  }
}

} // namespace
} // namespace audiobookd::tests
