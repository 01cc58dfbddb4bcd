// The voice encoder hears the speaker that the reference hears.
#include "engine/models/chatterbox/clip_features.h"
#include "engine/models/chatterbox/voice_encoder.h"
#include "tests/engine/s3gen_fixture.h"
#include "tests/engine/voice_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::VoiceEncoder;

class GoldenVoiceEncoder : public VoiceCases {};

/// What libtorch warns of while this lives.
class Warnings : private c10::WarningHandler {
public:
  [[nodiscard]] const std::string& text() const { return text_; }

private:
  void process(const c10::Warning& warning) override { text_ += warning.msg() + "\n"; }

  std::string text_;
  const c10::WarningUtils::WarningHandlerGuard guard_{this};
};

TEST_F(GoldenVoiceEncoder, WindowsAndSpeakerMatchTheReference) {
  const VoiceEncoder encoder(tiny_config().voice, tiny_weights());
  for_each_case([&](const GoldenCase& golden) {
    const at::Tensor clip = trimmed_clip(golden);
    const at::Tensor windows =
        VoiceEncoder::windows_of(engine::chatterbox::voice_encoder_mel(clip, tiny_config().voice.voice_encoder_mels));
    EXPECT_EQ(windows.size(0), golden.at("ve_frames")[1].item<std::int64_t>());
    EXPECT_TENSOR_NEAR(encoder.embed_windows(windows), golden.at("ve_partials"), 1e-4);
    EXPECT_TENSOR_NEAR(encoder.embed(clip).unsqueeze(0), golden.at("cond.speaker_emb"), 1e-4);
  });
}

TEST_F(GoldenVoiceEncoder, ItsWeightsLieAsTheDevicesLstmWantsThem) {
  const VoiceEncoder encoder(tiny_config().voice, tiny_weights());
  const Warnings warnings;
  for_each_case([&](const GoldenCase& golden) { (void)encoder.embed(trimmed_clip(golden)); });
  EXPECT_EQ(warnings.text(), "");
}

TEST(GoldenFullVoiceEncoder, MatchesTheReference) {
  AUDIOBOOKD_REQUIRE_CASE("full_s3gen");
  const c10::InferenceMode inference;
  const GoldenCase golden("full_s3gen");
  const VoiceEncoder encoder(engine::chatterbox::Config().voice,
                             engine::StateDict::synthetic("full-size", test_device()));
  const at::Tensor clip = without_silent_ends(golden.on_device("clip.wav16"));
  EXPECT_TENSOR_NEAR(encoder.embed(clip).unsqueeze(0), golden.at("clip.ve_embed"), 5e-4);
}

TEST(VoiceEncoder, KeepsALastWindowOfFourFifths) {
  const auto count = [](std::int64_t frames) { return VoiceEncoder::windows_of(at::ones({frames, 40})).size(0); };
  EXPECT_EQ(count(20), 1) << "there is always one";
  EXPECT_EQ(count(160), 1);
  EXPECT_EQ(count(204), 1) << "127 of 160 frames";
  EXPECT_EQ(count(205), 2) << "128 of 160 frames";
  EXPECT_EQ(count(237), 2);
  EXPECT_EQ(count(281), 2);
  EXPECT_EQ(count(282), 3);
  const at::Tensor padded = VoiceEncoder::windows_of(at::ones({205, 40}));
  EXPECT_EQ(padded[1].sum().item<float>(), 128 * 40) << "the rest is zero";
}

} // namespace
} // namespace audiobookd::tests
