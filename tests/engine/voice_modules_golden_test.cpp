// A whole clip becomes the voice that the reference makes of it.
#include "engine/models/chatterbox/voice_modules.h"
#include "tests/engine/s3gen_fixture.h"
#include "tests/engine/voice_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::VoiceModules;

class GoldenVoiceModules : public VoiceCases {};

TEST_F(GoldenVoiceModules, WholeClipMatchesTheReference) {
  const engine::StateDict weights = tiny_weights();
  const VoiceModules modules(tiny_config().voice, weights, weights);
  for_each_case([&](const GoldenCase& golden) {
    const std::vector<float> samples = read_clip(golden);
    if (samples.empty()) {
      GTEST_SKIP() << "golden case is absent: a mono clip at 24 kHz";
    }
    const auto found = modules.prepare(at::tensor(samples).to(test_device()), clip(golden, "wav16_hq"));
    EXPECT_TENSOR_NEAR(found.speaker_emb.unsqueeze(0), golden.at("cond.speaker_emb"), 1e-4);
    EXPECT_SPEECH_TOKENS(found.prompt_speech_tokens, golden.at("cond.t3_prompt_tokens")[0], golden.at("t3.fsq_pre"));
    EXPECT_EQ(found.prompt_token.size(0), golden.at("cond.prompt_token_len")[0].item<std::int64_t>());
    EXPECT_SPEECH_TOKENS(found.prompt_token, golden.at("cond.prompt_token")[0], golden.at("s3gen.fsq_pre"));
    EXPECT_TENSOR_NEAR(found.prompt_feat.unsqueeze(0), golden.at("cond.prompt_feat"), 1e-3);
    EXPECT_TENSOR_NEAR(found.embedding.unsqueeze(0), golden.at("cond.embedding"), 1e-4);
  });
}

} // namespace
} // namespace audiobookd::tests
