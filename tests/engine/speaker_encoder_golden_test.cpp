// CAM++ gives the vector that the reference gives, at both sizes.
#include "engine/models/chatterbox/clip_features.h"
#include "engine/models/chatterbox/speaker_encoder.h"
#include "tests/engine/s3gen_fixture.h"
#include "tests/engine/voice_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::SpeakerEncoder;

class GoldenSpeakerEncoder : public VoiceCases {};

TEST_F(GoldenSpeakerEncoder, StagesAndVectorMatchTheReference) {
  const SpeakerEncoder encoder(tiny_config().voice, tiny_weights().select("speaker_encoder."));
  for_each_case([&](const GoldenCase& golden) {
    const at::Tensor banks = engine::chatterbox::kaldi_filter_banks(clip(golden, "wav16_sinc"));
    const Probed seen = probe_into([&](const engine::Probe& probe) {
      probe("embedding", encoder.forward(banks - banks.mean(0, true), probe).unsqueeze(0));
    });
    for (const char* stage : {"head", "tdnn", "block1"}) {
      SCOPED_TRACE(stage);
      const at::Tensor recorded = golden.at(std::string("xvector_") + stage);
      EXPECT_TENSOR_NEAR(seen.at(stage).narrow(2, 0, recorded.size(2)), recorded, 5e-3);
    }
    EXPECT_TENSOR_NEAR(seen.at("embedding"), golden.at("cond.embedding"), 1e-4);
  });
}

TEST(GoldenFullSpeakerEncoder, MatchesTheReference) {
  AUDIOBOOKD_REQUIRE_CASE("full_s3gen");
  const c10::InferenceMode inference;
  const GoldenCase golden("full_s3gen");
  const engine::StateDict weights = engine::StateDict::synthetic("full-size", test_device());
  const SpeakerEncoder encoder(engine::chatterbox::Config().voice, weights.select("speaker_encoder."));
  EXPECT_TENSOR_NEAR(encoder.embed(golden.on_device("clip.wav16")).unsqueeze(0), golden.at("clip.xvector"), 5e-4);
}

} // namespace
} // namespace audiobookd::tests
