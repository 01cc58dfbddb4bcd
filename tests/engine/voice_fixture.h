// What the tests of voice cloning share: the recorded cases, their clips, tokens compared as the recordings ask for.
#pragma once

#include "tests/engine/golden.h"

#include <functional>
#include <string>
#include <vector>

namespace audiobookd::tests {

/// Every recorded `voice_` case of the English model that holds its clip at 16 kHz, resampled both ways.
class VoiceCases : public ::testing::Test {
protected:
  /// Skips the test where there is no such case.
  void SetUp() override;
  /// Calls @p check for each.
  void for_each_case(const std::function<void(const GoldenCase&)>& check) const;

  /// "wav16_hq" or "wav16_sinc", [n] on the device under test.
  static at::Tensor clip(const GoldenCase& golden, const char* key) { return golden.on_device(key).flatten(); }
  /// The first 6 s of the clip, which T3's prompt is made of.
  static at::Tensor t3_clip(const GoldenCase& golden) { return clip(golden, "wav16_hq").slice(0, 0, 96'000); }
  /// The clip as the voice encoder gets it.
  static at::Tensor trimmed_clip(const GoldenCase& golden);

private:
  std::vector<std::string> cases_;
};

/// The samples that are left. @param clip [n] at 16 kHz.
at::Tensor without_silent_ends(const at::Tensor& clip);

/// The clip of the case "voice_NAME", audio/NAME.wav of the golden folder: samples of a mono WAV with 16 bits at 24
/// kHz. Empty when it is not there or not of that kind.
std::vector<float> read_clip(const GoldenCase& golden);

/// The largest |actual - expected| / |expected| over all elements, in double on the CPU; where 0 is expected, infinity
/// for anything else.
double max_relative_diff(const at::Tensor& actual, const at::Tensor& expected);

/// "" when the speech tokens are equal, else where not. A digit may differ where 0.999 tanh(@p fsq_pre) lies within
/// 5e-3 of ±0.5, the border that it is rounded at. @param actual, expected [n]; the first may be longer. @param fsq_pre
/// the recorded digits before tanh, [at least n, 8]
std::string differing_tokens(const at::Tensor& actual, const at::Tensor& expected, const at::Tensor& fsq_pre);

} // namespace audiobookd::tests

/// As EXPECT_TENSOR_NEAR over as many rows as are recorded.
#define EXPECT_FIRST_ROWS_NEAR(actual, expected, tolerance)                                                            \
  [](const at::Tensor& all_, const at::Tensor& recorded_, double bound_) {                                             \
    ASSERT_GE(all_.size(0), recorded_.size(0)) << #actual;                                                             \
    EXPECT_TENSOR_NEAR(all_.narrow(0, 0, recorded_.size(0)), recorded_, bound_);                                       \
  }((actual), (expected), (tolerance))

#define EXPECT_SPEECH_TOKENS(actual, expected, fsq_pre)                                                                \
  EXPECT_EQ(audiobookd::tests::differing_tokens((actual), (expected), (fsq_pre)), "") << #actual
