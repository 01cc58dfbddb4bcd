// The speech tokenizer hears the tokens that the reference hears, at both sizes.
#include "engine/models/chatterbox/speech_tokenizer.h"
#include "tests/engine/s3gen_fixture.h"
#include "tests/engine/voice_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::SpeechTokenizer;

/// "tokens" of a clip at 16 kHz and what led to them.
Probed tokens_of(const SpeechTokenizer& tokenizer, const at::Tensor& clip) {
  return probe_into(
      [&](const engine::Probe& probe) { probe("tokens", tokenizer.tokens(tokenizer.log_mel(clip), probe)); });
}

class GoldenSpeechTokenizer : public VoiceCases {};

TEST_F(GoldenSpeechTokenizer, StagesAndTokensMatchTheReference) {
  const SpeechTokenizer tokenizer(tiny_config().voice, tiny_weights().select("tokenizer."));
  for_each_case([&](const GoldenCase& golden) {
    const Probed s3gen = tokens_of(tokenizer, clip(golden, "wav16_sinc"));
    EXPECT_TENSOR_NEAR(s3gen.at("fsq_pre"), golden.at("s3gen.fsq_pre"), 2e-3);
    EXPECT_TENSOR_NEAR(s3gen.at("hidden").unsqueeze(0), golden.at("s3gen.tokenizer_hidden"), 2e-3);
    EXPECT_SPEECH_TOKENS(s3gen.at("tokens"), golden.at("cond.prompt_token")[0], golden.at("s3gen.fsq_pre"));
    const Probed t3 = tokens_of(tokenizer, t3_clip(golden));
    EXPECT_TENSOR_NEAR(t3.at("fsq_pre"), golden.at("t3.fsq_pre"), 2e-3);
    EXPECT_SPEECH_TOKENS(t3.at("tokens"), golden.at("cond.t3_prompt_tokens")[0], golden.at("t3.fsq_pre"));
  });
}

/// Its weights come from the formula; making them takes longer than using them.
TEST(GoldenFullSpeechTokenizer, MatchesTheReference) {
  AUDIOBOOKD_REQUIRE_CASE("full_s3gen");
  const c10::InferenceMode inference;
  const GoldenCase golden("full_s3gen");
  const SpeechTokenizer tokenizer(engine::chatterbox::Config().voice,
                                  engine::StateDict::synthetic("full-size", test_device()).select("tokenizer."));
  const Probed seen = tokens_of(tokenizer, golden.on_device("clip.wav16"));
  EXPECT_TENSOR_NEAR(seen.at("fsq_pre"), golden.at("clip.fsq_pre"), 2e-3);
  EXPECT_SPEECH_TOKENS(seen.at("tokens"), golden.at("clip.tokens")[0], golden.at("clip.fsq_pre"));
}

} // namespace
} // namespace audiobookd::tests
