// The whole flow against the reference with injected noise: speaker projection, Euler states, mel spectrograms, each
// utterance alone and all of them in one pass.
#include "engine/models/chatterbox/s3gen.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::chatterbox::S3Gen;
using engine::chatterbox::SpeakerPrompt;
using engine::chatterbox::StageSeconds;
using engine::chatterbox::SynthesisRequest;

class GoldenFlow : public ::testing::Test {
protected:
  void SetUp() override { AUDIOBOOKD_REQUIRE_CASE("flow"); }
};

/// The recorded x_after_stepN of @p unit against frames @p start … of what a probe saw.
void expect_states(const Probed& seen, const GoldenCase& golden, const std::string& unit, std::int64_t start) {
  for (const auto& [name, state] : seen) {
    if (golden.contains(unit + "." + name)) {
      SCOPED_TRACE(name);
      const at::Tensor recorded = golden.at(unit + "." + name);
      EXPECT_TENSOR_NEAR(state.narrow(0, start, recorded.size(2)).t().unsqueeze(0), recorded, 2e-4);
    }
  }
}

TEST_F(GoldenFlow, SpeakerProjectionMatchesTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("flow");
  S3Gen s3gen = tiny_s3gen();
  EXPECT_TENSOR_NEAR(s3gen.decoder().speaker_projection(golden.on_device("embedding")), golden.at("spk"), 2e-4);
}

TEST_F(GoldenFlow, StatesAndMelMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("flow");
  S3Gen s3gen = tiny_s3gen();
  const SpeakerPrompt prompt = golden_prompt(golden);
  const std::vector<std::string> units = golden.units("mel");
  ASSERT_FALSE(units.empty());
  for (const std::string& unit : units) {
    SCOPED_TRACE(unit);
    const SynthesisRequest request = golden_request(golden, unit, prompt);
    const std::vector<const SynthesisRequest*> pass{&request};
    StageSeconds seconds;
    const Probed seen = probe_into([&](const engine::Probe& probe) {
      const at::Tensor mel = s3gen.mel_spectrograms(pass, seconds, probe).at(0);
      EXPECT_TENSOR_NEAR(mel.unsqueeze(0), golden.at(unit + ".mel"), 2e-4);
    });
    expect_states(seen, golden, unit, 0);
  }
}

TEST_F(GoldenFlow, PackedUtterancesMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("flow");
  S3Gen s3gen = tiny_s3gen();
  const SpeakerPrompt prompt = golden_prompt(golden);
  const std::vector<std::string> units = golden.units("mel");
  std::vector<SynthesisRequest> requests;
  std::vector<const SynthesisRequest*> pass;
  for (const std::string& unit : units) {
    requests.push_back(golden_request(golden, unit, prompt));
  }
  for (const SynthesisRequest& request : requests) {
    pass.push_back(&request);
  }
  StageSeconds seconds;
  std::vector<at::Tensor> mels;
  const Probed seen =
      probe_into([&](const engine::Probe& probe) { mels = s3gen.mel_spectrograms(pass, seconds, probe); });
  std::int64_t start = 0;
  for (std::size_t i = 0; i < units.size(); ++i) {
    SCOPED_TRACE(units[i]);
    expect_states(seen, golden, units[i], start);
    EXPECT_TENSOR_NEAR(mels[i].unsqueeze(0), golden.at(units[i] + ".mel"), 2e-4);
    start += prompt.prompt_feat.size(0) + mels[i].size(1);
  }
}

} // namespace
} // namespace audiobookd::tests
