// The whole S3Gen in bf16 on a GPU against itself in fp32 with the same noise, at published size: how far mel
// spectrograms and waveforms are apart, and that company does not change an utterance.
#include "engine/kernels/philox_noise.h"
#include "engine/models/chatterbox/s3gen.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

#include <memory>

namespace audiobookd::tests {
namespace {

using engine::random_stream;
using engine::RandomPurpose;
using engine::RandomStream;
using engine::chatterbox::Config;
using engine::chatterbox::S3Gen;
using engine::chatterbox::SpeakerPrompt;
using engine::chatterbox::StageSeconds;
using engine::chatterbox::SynthesisRequest;

std::vector<std::int32_t> drawn_tokens(std::size_t count, std::uint32_t seed) {
  std::vector<std::int32_t> tokens;
  const RandomStream stream = random_stream(seed, {}, 0);
  for (std::size_t i = 0; i < count; ++i) {
    const auto words = engine::random_words(stream, RandomPurpose::t3_draw, 0, static_cast<std::uint32_t>(i));
    tokens.push_back(static_cast<std::int32_t>(words.word[0] % 6561));
  }
  return tokens;
}

SpeakerPrompt drawn_prompt(std::int64_t num_tokens) {
  const at::Tensor feat = at::empty({2 * num_tokens, 80});
  const at::Tensor embedding = at::empty({1, 192});
  engine::kernels::fill_normal(feat, random_stream(3, {}, 1), RandomPurpose::flow_noise);
  engine::kernels::fill_normal(embedding, random_stream(3, {}, 2), RandomPurpose::flow_noise);
  return {at::tensor(drawn_tokens(static_cast<std::size_t>(num_tokens), 3), at::kInt).to(at::kLong).to(test_device()),
          feat.to(test_device()), embedding.squeeze(0).to(test_device())};
}

/// Mean over frames of the root mean square difference over bands, in dB. @param mels natural logarithms [80, frames]
double log_spectral_distance_db(const at::Tensor& a, const at::Tensor& b) {
  constexpr double db_per_neper = 8.685889638;
  return ((a - b) * db_per_neper).square().mean(0).sqrt().mean().item<double>();
}

/// Both models, shared by the tests of the suite.
class GpuHalfS3Gen : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    const Config config;
    const auto weights = [] { return engine::StateDict::synthetic("full-size s3gen", test_device()); };
    exact_ = std::make_unique<S3Gen>(config.flow, config.hift, weights());
    half_ = std::make_unique<S3Gen>(config.flow, config.hift, weights(),
                                    engine::chatterbox::S3GenOptions{.half_precision = true});
    eight_bits_ = std::make_unique<S3Gen>(config.flow, config.hift, weights(),
                                          engine::chatterbox::S3GenOptions{.half_precision = true, .cfm_fp8 = true});
  }
  static void TearDownTestSuite() {
    exact_.reset();
    half_.reset();
    eight_bits_.reset();
  }
  void SetUp() override {
    for (const std::size_t length : {97u, 12u, 250u}) {
      SynthesisRequest request;
      request.speech_tokens = drawn_tokens(length, static_cast<std::uint32_t>(length));
      request.prompt = &voice_;
      request.noise = random_stream(7, {length, 0}, 0);
      requests_.push_back(request);
    }
    for (const SynthesisRequest& request : requests_) {
      pass_.push_back(&request);
    }
  }

  const c10::InferenceMode inference_;
  const SpeakerPrompt voice_ = drawn_prompt(50);
  std::vector<SynthesisRequest> requests_;
  std::vector<const SynthesisRequest*> pass_;
  static inline std::unique_ptr<S3Gen> exact_;
  /// @param mean of absolute differences of natural logarithms. @param distance_db log-spectral
  void expect_mel_spectrograms(S3Gen& model, double mean, double distance_db) const {
    StageSeconds seconds;
    const std::vector<at::Tensor> expected = exact_->mel_spectrograms(pass_, seconds);
    const std::vector<at::Tensor> found = model.mel_spectrograms(pass_, seconds);
    for (std::size_t i = 0; i < pass_.size(); ++i) {
      SCOPED_TRACE("utterance " + std::to_string(i));
      EXPECT_LT((found[i] - expected[i]).abs().mean().item<double>(), mean);
      EXPECT_LT(log_spectral_distance_db(found[i], expected[i]), distance_db);
    }
  }

  static inline std::unique_ptr<S3Gen> half_;
  static inline std::unique_ptr<S3Gen> eight_bits_;
};

TEST_F(GpuHalfS3Gen, MelSpectrogramsAreCloseToFp32) { expect_mel_spectrograms(*half_, 1e-2, 0.1); }

/// The mean is ten times that of bf16, whose mantissas are five bits longer: errors of both operands add up, and a
/// third of the products stays in bf16.
TEST_F(GpuHalfS3Gen, MelSpectrogramsWithEightBitsInTheFlowAreCloseToFp32) {
  expect_mel_spectrograms(*eight_bits_, 0.1, 1);
}

TEST_F(GpuHalfS3Gen, WaveformsFromTheSameMelAreCloseToFp32) {
  StageSeconds seconds;
  const std::vector<at::Tensor> mels = exact_->mel_spectrograms(pass_, seconds);
  const std::vector<at::Tensor> expected = exact_->waveforms(pass_, mels);
  const std::vector<at::Tensor> found = half_->waveforms(pass_, mels);
  for (std::size_t i = 0; i < pass_.size(); ++i) {
    EXPECT_GT(signal_to_noise_db(found[i], expected[i]), 24) << "utterance " << i;
  }
}

TEST_F(GpuHalfS3Gen, CompanyIsNotHeard) {
  const auto together = half_->synthesize(requests_);
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    const auto alone = half_->synthesize(std::span(&requests_[i], 1)).waveforms.at(0);
    ASSERT_EQ(together.waveforms[i].size(), 960 * requests_[i].speech_tokens.size());
    EXPECT_GT(signal_to_noise_db(at::tensor(together.waveforms[i]), at::tensor(alone)), 60) << "utterance " << i;
  }
}

} // namespace
} // namespace audiobookd::tests
