// The full-size S3Gen against the reference: its encoder, one guided pair, the flow and the vocoder.
#include "engine/models/chatterbox/s3gen.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

#include <memory>

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::chatterbox::CfmDecoder;
using engine::chatterbox::Config;
using engine::chatterbox::FlowConditions;
using engine::chatterbox::S3Gen;
using engine::chatterbox::SpeakerPrompt;
using engine::chatterbox::StageSeconds;
using engine::chatterbox::SynthesisRequest;
using engine::chatterbox::VocoderInput;

/// Making the full-size weights takes longer than using them: one model for all tests of the suite.
class GoldenFullS3Gen : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    if (GoldenCase::exists("full_s3gen")) {
      const Config config;
      s3gen_ = std::make_unique<S3Gen>(config.flow, config.hift,
                                       engine::StateDict::synthetic("full-size s3gen", test_device()));
      golden_ = std::make_unique<GoldenCase>("full_s3gen");
    }
  }
  static void TearDownTestSuite() {
    s3gen_.reset();
    golden_.reset();
  }
  void SetUp() override { AUDIOBOOKD_REQUIRE_CASE("full_s3gen"); }

  static at::Tensor frames_of(const std::string& key) { return golden_->on_device(key).squeeze(0).t().contiguous(); }

  static inline std::unique_ptr<S3Gen> s3gen_;
  static inline std::unique_ptr<GoldenCase> golden_;
};

TEST_F(GoldenFullS3Gen, EncoderMatchesTheReference) {
  const c10::InferenceMode inference;
  const at::Tensor tokens =
      at::cat({golden_->on_device("prompt_token").flatten(), golden_->on_device("tokens").flatten()});
  const Probed seen = probe_into([&](const engine::Probe& probe) {
    probe("mu", s3gen_->encoder().forward(tokens, PackedRows({tokens.size(0)}, test_device()), probe));
  });
  EXPECT_TENSOR_NEAR(seen.at("encoder_out").unsqueeze(0), golden_->at("encoder_out"), 5e-4);
  EXPECT_TENSOR_NEAR(seen.at("mu").unsqueeze(0), golden_->at("mu"), 5e-4);
}

TEST_F(GoldenFullS3Gen, EstimatorMatchesTheReference) {
  const c10::InferenceMode inference;
  const at::Tensor x = frames_of("est.x");
  const FlowConditions conditions{frames_of("est.mu"), golden_->on_device("est.spk").expand({x.size(0), -1}),
                                  frames_of("est.cond")};
  const at::Tensor pair =
      s3gen_->decoder().guided_pair(x, conditions, golden_->on_device("est.t"), PackedRows({x.size(0)}, test_device()));
  EXPECT_TENSOR_NEAR(pair.transpose(1, 2), golden_->at("est.dxdt"), 1e-3);
}

TEST_F(GoldenFullS3Gen, FlowMatchesTheReference) {
  const c10::InferenceMode inference;
  const SpeakerPrompt prompt = golden_prompt(*golden_);
  const at::Tensor tokens = golden_->at("tokens").flatten().to(at::kInt);
  SynthesisRequest request;
  request.speech_tokens.assign(tokens.data_ptr<std::int32_t>(), tokens.data_ptr<std::int32_t>() + tokens.numel());
  request.prompt = &prompt;
  request.noise = engine::chatterbox::InjectedNoise{golden_->on_device("z").squeeze(0), {}, {}};
  const std::vector<const SynthesisRequest*> pass{&request};
  StageSeconds seconds;
  EXPECT_TENSOR_NEAR(s3gen_->mel_spectrograms(pass, seconds).at(0).unsqueeze(0), golden_->at("mel"), 1e-3);
  EXPECT_TENSOR_NEAR(s3gen_->decoder().speaker_projection(golden_->on_device("embedding")), golden_->at("spk"), 5e-4);
}

TEST_F(GoldenFullS3Gen, SourceFromRecordedF0MatchesTheReference) {
  const c10::InferenceMode inference;
  const at::Tensor source =
      s3gen_->vocoder().source()(golden_->on_device("hift.f0").squeeze(0), golden_->on_device("hift.phase").flatten(),
                                 golden_->on_device("hift.noise").squeeze(0));
  EXPECT_TENSOR_NEAR(source.view({1, 1, -1}), golden_->at("hift.source"), 2e-5);
}

TEST_F(GoldenFullS3Gen, VocoderFromRecordedSourceMatchesTheReference) {
  const c10::InferenceMode inference;
  const at::Tensor mel = golden_->on_device("hift.mel");
  const std::vector<std::int64_t> lengths{mel.size(2)};
  const std::vector<at::Tensor> sources{golden_->on_device("hift.source").flatten()};
  const Probed seen = probe_into(
      [&](const engine::Probe& probe) { probe("wav", s3gen_->vocoder().decode(mel, lengths, sources, probe).at(0)); });
  EXPECT_TENSOR_NEAR(seen.at("conv_post"), golden_->at("hift.conv_post"), 1e-3);
  EXPECT_TENSOR_NEAR(seen.at("wav").unsqueeze(0), golden_->at("hift.wav"), 5e-4);
}

TEST_F(GoldenFullS3Gen, VocoderEndToEndMatchesTheReference) {
  const c10::InferenceMode inference;
  const std::vector<VocoderInput> inputs{{golden_->on_device("hift.mel").squeeze(0),
                                          golden_->on_device("hift.phase").flatten(),
                                          golden_->on_device("hift.noise").squeeze(0)}};
  const Probed seen =
      probe_into([&](const engine::Probe& probe) { probe("wav", s3gen_->vocoder().render(inputs, probe).at(0)); });
  EXPECT_TENSOR_NEAR(seen.at("f0").unsqueeze(0), golden_->at("hift.f0"), 0.05);
  EXPECT_TENSOR_NEAR(seen.at("source").view({1, 1, -1}), golden_->at("hift.source"), 1e-3);
  EXPECT_TENSOR_NEAR(seen.at("conv_post"), golden_->at("hift.conv_post"), 3e-2);
  const at::Tensor wave = seen.at("wav").unsqueeze(0);
  EXPECT_TENSOR_NEAR(wave, golden_->at("hift.wav"), 2e-2);
  EXPECT_GT(signal_to_noise_db(wave, golden_->at("hift.wav")), 35);
}

} // namespace
} // namespace audiobookd::tests
