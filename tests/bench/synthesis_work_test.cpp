// Counts of synthesis: by hand for a model whose layers are all one wide, and against the known costs of the published
// one.
#include "bench/synthesis_work.h"

#include <gtest/gtest.h>

namespace audiobookd::bench {
namespace {

using engine::chatterbox::FlowConfig;
using engine::chatterbox::HiftConfig;

FlowConfig narrow_flow() {
  FlowConfig c;
  c.mel_channels = 1;
  c.encoder_size = 1;
  c.encoder_linear_units = 1;
  c.encoder_blocks = 1;
  c.encoder_up_blocks = 1;
  c.encoder_pre_lookahead = 3;
  c.estimator_in_channels = 1;
  c.estimator_channels = 1;
  c.estimator_heads = 1;
  c.estimator_head_dim = 1;
  c.estimator_blocks_per_stage = 1;
  c.estimator_mid_stages = 1;
  return c;
}

TEST(SynthesisWork, CountsANarrowEncoderAndEstimatorByHand) {
  const SynthesisWork work = synthesis_work(narrow_flow(), {}, 0, 1, 1); // 1 token, 2 frames
  // Token: embedding 1, look-ahead 4 + 3. Frames: convolution 5, embedding 1, projection 1 each.
  // A block's row: 4 projections, 2 of the feed-forward layer; attention: rows² twice, rows (2 rows - 1) positions.
  const double token_block = 6 + 2 * 1 + 1 * 1;
  const double frame_blocks = 2 * 6 + 2 * 4 + 2 * 3;
  EXPECT_DOUBLE_EQ(work.encoder_flop, 2 * (8 + 2 * 7 + token_block + frame_blocks));
  // Stage: two convolutions of 3 and a shortcut; block: 3 + 1 projections, 4 + 4 of the feed-forward layer. The last
  // stage's input is two wide. Three more convolutions of 3, and the projection.
  const double stage = 3 + 3 + 1 + 12;
  const double frame = 2 * stage + (6 + 3 + 2 + 12) + 9 + 1;
  EXPECT_DOUBLE_EQ(work.cfm_gemm_flop, 2 * 2 * frame * 2); // guidance rows, frames, two operations
  EXPECT_DOUBLE_EQ(work.cfm_attention_flop, 2 * 3 * (2 * 2 * 2 * 2));
}

TEST(SynthesisWork, StepsCountForTheCfmAndPromptsDoNotForTheVocoder) {
  const SynthesisWork once = synthesis_work({}, {}, 250, 388, 1);
  const SynthesisWork ten_times = synthesis_work({}, {}, 250, 388, 10);
  EXPECT_DOUBLE_EQ(ten_times.cfm_gemm_flop, 10 * once.cfm_gemm_flop);
  EXPECT_DOUBLE_EQ(ten_times.encoder_flop, once.encoder_flop);
  EXPECT_DOUBLE_EQ(synthesis_work({}, {}, 0, 388, 1).vocoder_flop, once.vocoder_flop);
  EXPECT_LT(synthesis_work({}, {}, 0, 388, 1).encoder_flop, once.encoder_flop);
}

TEST(SynthesisWork, ThePublishedModelCostsWhatIsKnownOfIt) {
  // GFLOP for a second of audio in utterances of 15.5 s with a prompt of 10 s, counted independently: attention of the
  // CFM 240, its other layers 210, vocoder 31, encoder 6.
  constexpr double seconds = 15.52;
  const SynthesisWork work = synthesis_work({}, {}, 250, 388, 10);
  EXPECT_NEAR(work.cfm_attention_flop / seconds / 1e9, 240, 12);
  EXPECT_NEAR(work.cfm_gemm_flop / seconds / 1e9, 210, 21);
  EXPECT_NEAR(work.vocoder_flop / seconds / 1e9, 31, 4);
  EXPECT_NEAR(work.encoder_flop / seconds / 1e9, 6, 1.5);
}

} // namespace
} // namespace audiobookd::bench
