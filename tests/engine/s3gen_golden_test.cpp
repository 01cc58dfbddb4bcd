// Speech tokens to waveform against the reference with injected noise, alone and in one pass.
#include "engine/models/chatterbox/s3gen.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::S3Gen;
using engine::chatterbox::SpeakerPrompt;
using engine::chatterbox::StageSeconds;
using engine::chatterbox::SynthesisRequest;

class GoldenS3Gen : public ::testing::Test {
protected:
  void SetUp() override { AUDIOBOOKD_REQUIRE_CASE("s3gen_end_to_end"); }
};

void expect_waveform(const std::vector<float>& samples, const at::Tensor& recorded) {
  const at::Tensor wave = at::tensor(samples).unsqueeze(0);
  EXPECT_TENSOR_NEAR(wave, recorded, 5e-2);
  EXPECT_GT(signal_to_noise_db(wave, recorded), 30);
}

TEST_F(GoldenS3Gen, FadeMatchesTheReference) {
  const GoldenCase golden("s3gen_end_to_end");
  const at::Tensor fade = tiny_s3gen().fade().cpu();
  EXPECT_TENSOR_NEAR(fade, golden.at("fade"), 1e-6);
  EXPECT_EQ(fade[480].item<float>(), 0.0f);
  EXPECT_EQ(fade[959].item<float>(), 1.0f);
}

TEST_F(GoldenS3Gen, F0AndSourceMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("s3gen_end_to_end");
  S3Gen s3gen = tiny_s3gen();
  const SpeakerPrompt prompt = golden_prompt(golden);
  for (const std::string& unit : golden.units("f0")) {
    SCOPED_TRACE(unit);
    const SynthesisRequest request = golden_request(golden, unit, prompt);
    const std::vector<const SynthesisRequest*> pass{&request};
    StageSeconds seconds;
    const std::vector<at::Tensor> mels = s3gen.mel_spectrograms(pass, seconds);
    const Probed seen = probe_into([&](const engine::Probe& probe) { (void)s3gen.waveforms(pass, mels, probe); });
    EXPECT_TENSOR_NEAR(seen.at("f0").unsqueeze(0), golden.at(unit + ".f0"), 2e-2);
    const at::Tensor source = seen.at("source").view({1, 1, -1});
    EXPECT_TENSOR_NEAR(source, golden.at(unit + ".source"), 5e-2);
    EXPECT_GT(signal_to_noise_db(source, golden.at(unit + ".source")), 30);
  }
}

TEST_F(GoldenS3Gen, WaveformsMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("s3gen_end_to_end");
  S3Gen s3gen = tiny_s3gen();
  const SpeakerPrompt prompt = golden_prompt(golden);
  const std::vector<std::string> units = golden.units("wav");
  ASSERT_FALSE(units.empty());
  for (const std::string& unit : units) {
    SCOPED_TRACE(unit);
    const std::vector<SynthesisRequest> requests{golden_request(golden, unit, prompt)};
    expect_waveform(s3gen.synthesize(requests).waveforms.at(0), golden.at(unit + ".wav"));
  }
}

TEST_F(GoldenS3Gen, WaveformsOfOnePassMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("s3gen_end_to_end");
  S3Gen s3gen = tiny_s3gen({.frames_per_pass = 1 << 20});
  const SpeakerPrompt prompt = golden_prompt(golden);
  const std::vector<std::string> units = golden.units("wav");
  std::vector<SynthesisRequest> requests;
  for (const std::string& unit : units) {
    requests.push_back(golden_request(golden, unit, prompt));
  }
  const auto result = s3gen.synthesize(requests);
  for (std::size_t i = 0; i < units.size(); ++i) {
    SCOPED_TRACE(units[i]);
    expect_waveform(result.waveforms[i], golden.at(units[i] + ".wav"));
  }
}

} // namespace
} // namespace audiobookd::tests
