// What the models hear of a clip is what the reference hears: every kind of mel, resampling, trimming.
#include "engine/models/chatterbox/clip_features.h"
#include "tests/engine/tiny_config.h"
#include "tests/engine/voice_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::kaldi_filter_banks;
using engine::chatterbox::prompt_mel;
using engine::chatterbox::SampleRange;
using engine::chatterbox::slaney_filters;
using engine::chatterbox::speech_tokenizer_mel;
using engine::chatterbox::voice_encoder_mel;
using engine::chatterbox::windowed_sinc_to_16khz;

class GoldenClipFeatures : public VoiceCases {};

TEST_F(GoldenClipFeatures, LogMelsAndFilterBanksMatchTheReference) {
  const at::Tensor filters = slaney_filters(16'000, 400, tiny_config().voice.speech_tokenizer_mels).to(test_device());
  const at::Tensor window = at::hann_window(400, at::TensorOptions(at::kFloat).device(test_device()));
  for_each_case([&](const GoldenCase& golden) {
    const at::Tensor s3gen = speech_tokenizer_mel(clip(golden, "wav16_sinc"), filters, window);
    EXPECT_FIRST_ROWS_NEAR(s3gen.t(), golden.at("s3gen.log_mel")[0].t(), 5e-4);
    const at::Tensor t3 = speech_tokenizer_mel(t3_clip(golden), filters, window);
    EXPECT_FIRST_ROWS_NEAR(t3.t(), golden.at("t3.log_mel")[0].t(), 5e-4);
    const at::Tensor banks = kaldi_filter_banks(clip(golden, "wav16_sinc"));
    EXPECT_FIRST_ROWS_NEAR(banks, golden.at("fbank"), 5e-3);
    EXPECT_TENSOR_NEAR(banks.mean(0), golden.at("fbank_mean"), 5e-3);
  });
}

TEST_F(GoldenClipFeatures, PowerMelMatchesTheReference) {
  for_each_case([&](const GoldenCase& golden) {
    const at::Tensor mel = voice_encoder_mel(trimmed_clip(golden), tiny_config().voice.voice_encoder_mels);
    EXPECT_EQ(mel.size(0), golden.at("ve_frames")[0].item<std::int64_t>());
    const at::Tensor recorded = golden.at("ve_mel");
    EXPECT_LE(max_relative_diff(mel.narrow(0, 0, recorded.size(0)), recorded), 1e-3);
  });
}

TEST_F(GoldenClipFeatures, SilentEndsAreCutWhereTheReferenceCuts) {
  for_each_case([&](const GoldenCase& golden) {
    const SampleRange range = engine::chatterbox::without_silent_ends(clip(golden, "wav16_hq"));
    EXPECT_EQ(range.first, golden.at("trim_range")[0].item<std::int64_t>());
    EXPECT_EQ(range.end, golden.at("trim_range")[1].item<std::int64_t>());
  });
}

TEST_F(GoldenClipFeatures, ResamplingAndPromptMelMatchTheReference) {
  for_each_case([&](const GoldenCase& golden) {
    const std::vector<float> samples = read_clip(golden);
    if (samples.empty()) {
      GTEST_SKIP() << "golden case is absent: a mono clip at 24 kHz";
    }
    const at::Tensor wave = at::tensor(samples).to(test_device()).slice(0, 0, 240'000);
    EXPECT_TENSOR_NEAR(windowed_sinc_to_16khz(wave), golden.at("wav16_sinc").flatten(), 1e-6);
    EXPECT_TENSOR_NEAR(prompt_mel(wave).unsqueeze(0), golden.at("cond.prompt_feat"), 1e-3);
  });
}

TEST(ClipFeatures, SilentClipsStayWhole) {
  const at::Tensor silence = at::zeros({20'000}, at::TensorOptions(at::kFloat));
  const SampleRange range = engine::chatterbox::without_silent_ends(silence);
  EXPECT_EQ(range.first, 0);
  EXPECT_EQ(range.end, 20'000);
  // 1e-5 is what everything quieter counts as, so a clip hardly above it has no silent ends.
  at::Tensor faint = silence.clone();
  faint.slice(0, 8'000, 12'000).fill_(5e-5);
  EXPECT_EQ(engine::chatterbox::without_silent_ends(faint).first, 0);
  faint.slice(0, 8'000, 12'000).fill_(2e-4);
  EXPECT_EQ(engine::chatterbox::without_silent_ends(faint).first, 14 * 512);
}

TEST(ClipFeatures, ResamplingKeepsEveryThirdSampleOfLengthsThatDoNotDivide) {
  for (const std::int64_t length : {24'000, 24'001, 24'002}) {
    const at::Tensor steady = at::full({length}, 0.5, at::TensorOptions(at::kFloat));
    const at::Tensor found = windowed_sinc_to_16khz(steady);
    EXPECT_EQ(found.size(0), (2 * length + 2) / 3);
    EXPECT_LT(max_abs_diff(found.slice(0, 100, 15'900), at::full({15'800}, 0.5)), 2e-3) << "a constant stays one";
  }
}

} // namespace
} // namespace audiobookd::tests
