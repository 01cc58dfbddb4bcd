// The door to voice cloning: what it gives belongs together, and every clip that cannot become a voice is refused.
#include "engine/voice_cloner.h"
#include "tests/engine/engine_run.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <random>

namespace audiobookd::tests {
namespace {

using engine::ReferenceClip;
using engine::VoiceCloner;
using engine::VoiceConditionals;

/// Something with a pitch and noise, at one rate. Both rates hear the same but for the noise.
std::vector<float> speech_like(double seconds, int sample_rate) {
  std::vector<float> samples(static_cast<std::size_t>(std::ceil(seconds * sample_rate - 1e-9)));
  std::mt19937 random(1);
  std::normal_distribution<float> noise(0, 0.01F);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double time = static_cast<double>(i) / sample_rate;
    const double phase = 2 * std::numbers::pi * 120 * time;
    const double level = 0.2 * (1 + std::sin(2 * std::numbers::pi * 3 * time));
    samples[i] = static_cast<float>(level * (std::sin(phase) + 0.5 * std::sin(5 * phase))) + noise(random);
  }
  return samples;
}

struct Clip {
  explicit Clip(double seconds) : at_24khz(speech_like(seconds, 24'000)), at_16khz(speech_like(seconds, 16'000)) {}
  operator ReferenceClip() const { return {at_24khz, at_16khz}; } // NOLINT(google-explicit-constructor)
  std::vector<float> at_24khz, at_16khz;
};

class VoiceClonerTest : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    (void)test_device(); // TF32 off
    cloner_ = VoiceCloner::load(tiny_checkpoint(), tiny_options().device, 1);
  }
  static void TearDownTestSuite() { cloner_.reset(); }
  static std::string refusal(const ReferenceClip& clip, float exaggeration = 0.5F) {
    return message_of([&] { (void)cloner_->prepare(clip, exaggeration); });
  }
  static inline std::unique_ptr<VoiceCloner> cloner_;
};

TEST_F(VoiceClonerTest, PromptsAreAsLongAsTheClipUpToTheirLimits) {
  struct Expected {
    double seconds;
    std::size_t t3_tokens, prompt_tokens, frames;
  };
  for (const Expected& expected : {Expected{1, 25, 25, 50}, Expected{2.345, 59, 58, 117}, Expected{6.02, 150, 150, 301},
                                   Expected{12.5, 150, 250, 500}}) {
    SCOPED_TRACE(expected.seconds);
    const VoiceConditionals voice = cloner_->prepare(Clip(expected.seconds), 0.7F);
    EXPECT_EQ(voice.t3_prompt_tokens.size(), expected.t3_tokens);
    EXPECT_EQ(voice.prompt_tokens.size(), expected.prompt_tokens);
    EXPECT_EQ(voice.prompt_mel.size(), 80 * expected.frames);
    EXPECT_EQ(voice.speaker_embedding.size(), 256U);
    EXPECT_EQ(voice.xvector.size(), 192U);
    EXPECT_EQ(voice.exaggeration, 0.7F);
    double norm = 0;
    for (const float value : voice.speaker_embedding) {
      norm += value * value;
    }
    EXPECT_NEAR(norm, 1, 1e-5);
  }
}

TEST_F(VoiceClonerTest, TheSameClipGivesTheSameVoiceToTheBit) {
  const Clip clip(3);
  EXPECT_EQ(cloner_->prepare(clip), cloner_->prepare(clip));
}

TEST_F(VoiceClonerTest, SaysWhyAClipIsRefused) {
  const Clip clip(2);
  EXPECT_CONTAINS(refusal(Clip(0.99)), "lasts 0.990000 s; a voice needs at least 1.0");
  EXPECT_CONTAINS(refusal({clip.at_24khz, {}}), "cannot have 0 samples at 16 kHz");
  EXPECT_CONTAINS(refusal({clip.at_24khz, std::span(clip.at_16khz).first(31'998)}), "cannot have 31998 samples");
  EXPECT_CONTAINS(refusal(clip, 2.1F), "exaggeration is 2.1");
  EXPECT_CONTAINS(refusal(clip, std::numeric_limits<float>::quiet_NaN()), "exaggeration is nan");
  Clip infinite(2);
  infinite.at_16khz[5] = std::numeric_limits<float>::infinity();
  EXPECT_CONTAINS(refusal(infinite), "not finite");
}

TEST_F(VoiceClonerTest, NamesWhatTheCheckpointLacks) {
  const TempDir empty;
  EXPECT_CONTAINS(message_of([&] { (void)VoiceCloner::load(empty.path(), "cpu", 1); }), "s3gen.safetensors");
  std::filesystem::copy(tiny_checkpoint() / "config.json", empty.path());
  std::filesystem::copy(tiny_checkpoint() / "s3gen.safetensors", empty.path());
  std::filesystem::copy(tiny_checkpoint() / "t3_cfg.safetensors", empty.path() / "ve.safetensors");
  const std::string message = message_of([&] { (void)VoiceCloner::load(empty.path(), "cpu", 1); });
  EXPECT_CONTAINS(message, "ve.safetensors: the tensors are not those of the model");
  EXPECT_CONTAINS(message, "lstm.weight_ih_l0 [128,40]");
}

TEST_F(VoiceClonerTest, AModelThatDeclaresThatItCannotCloneIsRefused) {
  const TempDir folder;
  std::string config = read_file(tiny_checkpoint() / "config.json");
  const std::string able = "\"cloning\": true";
  const std::size_t place = config.find(able);
  ASSERT_NE(place, std::string::npos);
  write_file(folder.path() / "config.json", config.replace(place, able.size(), "\"cloning\": false"));
  EXPECT_CONTAINS(message_of([&] { (void)VoiceCloner::load(folder.path(), "cpu", 1); }),
                  "config.json: cloning: this model declares that no voice can be made from a clip");
}

} // namespace
} // namespace audiobookd::tests
