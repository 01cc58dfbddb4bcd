// Philox: known answers, independence of batch and block size, distribution, CPU against CUDA.
#include "engine/kernels/philox_noise.h"
#include "engine/philox.h"
#include "tests/engine/golden.h"

#include <set>

namespace audiobookd::engine {
namespace {

void expect_words(const PhiloxWords& found, const PhiloxWords& expected) {
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(found.word[i], expected.word[i]) << "word " << i;
  }
}

// The known-answer vectors that the authors of Random123 publish for philox4x32-10.
TEST(Philox, GivesTheKnownAnswersOfRandom123) {
  expect_words(philox4x32({{0, 0, 0, 0}}, 0, 0), {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  const std::uint32_t ones = 0xffffffff;
  expect_words(philox4x32({{ones, ones, ones, ones}}, ones, ones), {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  expect_words(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0),
               {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST(Philox, UniformsNeverReachZeroOrOne) {
  EXPECT_GT(open_unit(0), 0.0f);
  EXPECT_LT(open_unit(0xffffffff), 1.0f);
  EXPECT_EQ(open_unit(0x80000000), 0.5f + 1.0f / (1 << 24));
}

TEST(Philox, SeedKeyAndAttemptEachChangeTheNumbers) {
  const Hash128 key{1, 2};
  std::set<std::uint32_t> first_words;
  for (const RandomStream& stream :
       {random_stream(0, key, 0), random_stream(1, key, 0), random_stream(0, {2, 2}, 0), random_stream(0, {1, 3}, 0),
        random_stream(0, {2, 1}, 0), random_stream(0, key, 1)}) {
    first_words.insert(random_words(stream, RandomPurpose::flow_noise, 0, 0).word[0]);
  }
  EXPECT_EQ(first_words.size(), 6u);
  EXPECT_EQ(random_stream(7, key, 3), random_stream(7, key, 3));
}

TEST(Philox, PurposesStepsAndLanesDoNotShareNumbers) {
  const RandomStream stream = random_stream(1, {3, 4}, 0);
  std::set<std::uint32_t> words;
  for (const RandomPurpose purpose :
       {RandomPurpose::t3_draw, RandomPurpose::flow_noise, RandomPurpose::source_phase, RandomPurpose::source_noise}) {
    for (std::uint32_t step = 0; step < 8; ++step) {
      for (std::uint32_t lane = 0; lane < 8; ++lane) {
        words.insert(random_words(stream, purpose, step, lane).word[0]);
      }
    }
  }
  EXPECT_EQ(words.size(), 4u * 8 * 8);
}

TEST(Philox, UniformIsElementOfItsQuad) {
  const RandomStream stream = random_stream(1, {3, 4}, 2);
  const PhiloxWords words = random_words(stream, RandomPurpose::t3_draw, 5, 1);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(uniform(stream, RandomPurpose::t3_draw, 5, 4 + i), open_unit(words.word[i]));
  }
}

TEST(Philox, NormalsHaveTheMomentsOfAStandardNormal) {
  const at::Tensor block = at::empty({9, 100003});
  kernels::fill_normal(block, random_stream(11, {5, 6}, 0), RandomPurpose::source_noise);
  const at::Tensor x = block.to(at::kDouble);
  // Five standard errors of each moment for n = 900027 independent samples.
  const double standard_error = 1 / std::sqrt(static_cast<double>(x.numel()));
  EXPECT_NEAR(x.mean().item<double>(), 0, 5 * standard_error);
  EXPECT_NEAR(x.square().mean().item<double>(), 1, 5 * std::sqrt(2.0) * standard_error);
  EXPECT_NEAR(x.pow(3).mean().item<double>(), 0, 5 * std::sqrt(15.0) * standard_error);
  EXPECT_NEAR(x.pow(4).mean().item<double>(), 3, 5 * std::sqrt(96.0) * standard_error);
  const at::Tensor neighbours = x.narrow(1, 0, x.size(1) - 1) * x.narrow(1, 1, x.size(1) - 1);
  EXPECT_NEAR(neighbours.mean().item<double>(), 0, 5 * standard_error);
}

TEST(Philox, ALongerBlockBeginsWithTheShorterOne) {
  const RandomStream stream = random_stream(11, {5, 6}, 0);
  const at::Tensor longer = at::empty({5, 64});
  const at::Tensor shorter = at::empty({3, 33});
  kernels::fill_normal(longer, stream, RandomPurpose::flow_noise);
  kernels::fill_normal(shorter, stream, RandomPurpose::flow_noise);
  EXPECT_TRUE(at::equal(longer.narrow(0, 0, 3).narrow(1, 0, 33), shorter));
}

TEST(Philox, ASliceOfAPaddedBatchIsFilledWithoutTouchingTheRest) {
  const RandomStream stream = random_stream(11, {5, 6}, 0);
  const at::Tensor padded = at::full({3, 40}, 7.0f);
  const at::Tensor alone = at::empty({3, 33});
  kernels::fill_normal(padded.narrow(1, 0, 33), stream, RandomPurpose::flow_noise);
  kernels::fill_normal(alone, stream, RandomPurpose::flow_noise);
  EXPECT_TRUE(at::equal(padded.narrow(1, 0, 33), alone));
  EXPECT_TRUE(padded.narrow(1, 33, 7).eq(7.0f).all().item<bool>());
}

TEST(Philox, RefusesBlocksItCannotFill) {
  const RandomStream stream;
  EXPECT_THROW(kernels::fill_normal(at::empty({4}), stream, RandomPurpose::flow_noise), std::invalid_argument);
  EXPECT_THROW(kernels::fill_normal(at::empty({4, 4}, at::kDouble), stream, RandomPurpose::flow_noise),
               std::invalid_argument);
  EXPECT_THROW(kernels::fill_normal(at::empty({4, 3}).t(), stream, RandomPurpose::flow_noise), std::invalid_argument);
  EXPECT_THROW(kernels::fill_uniform(at::empty({4, 3}), stream, RandomPurpose::flow_noise), std::invalid_argument);
}

TEST(GpuPhilox, KernelGivesTheNumbersOfTheCpu) {
  const RandomStream stream = random_stream(11, {5, 6}, 4);
  for (const std::int64_t n : {1, 3, 4, 1023, 1024, 1025, 374400}) {
    const at::Tensor on_cpu = at::empty({9, n});
    const at::Tensor on_gpu = at::full({9, n + 5}, 7.0f, at::device(at::kCUDA));
    kernels::fill_normal(on_cpu, stream, RandomPurpose::source_noise);
    kernels::fill_normal(on_gpu.narrow(1, 0, n), stream, RandomPurpose::source_noise);
    EXPECT_TENSOR_NEAR(on_gpu.narrow(1, 0, n), on_cpu, 2e-6);
    EXPECT_TRUE(on_gpu.narrow(1, n, 5).eq(7.0f).all().item<bool>());
  }
}

} // namespace
} // namespace audiobookd::engine
