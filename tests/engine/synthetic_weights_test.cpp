// The synthetic-weight formula gives the recorded values to the bit.
#include "engine/models/chatterbox/synthetic_weights.h"
#include "tests/engine/temp_dir.h"

#include <bit>
#include <gtest/gtest.h>
#include <vector>

namespace audiobookd::engine::chatterbox {
namespace {

struct Vector {
  const char* name;
  std::vector<std::int64_t> shape;
  std::size_t index;
  std::uint64_t seed;
  double uniform;
  std::uint32_t bits;
};

const std::vector<Vector> vectors{
    {"tfmr.layers.0.self_attn.q_proj.weight", {1024, 1024}, 0, 0x7a8b332ff7cc6bb5, 0.049644503896593473, 0xbd47b09c},
    {"tfmr.layers.0.self_attn.q_proj.weight",
     {1024, 1024},
     1048575,
     0x7a8b332ff7cc6bb5,
     0.78681480290935613,
     0x3cfe59a9},
    {"text_emb.weight", {704, 1024}, 12345, 0xb1a33fecb4d3652d, 0.50290703301744077, 0x3a186989},
    {"tfmr.norm.weight", {1024}, 7, 0xe3050706173baaea, 0.61208895697302779, 0x3f82de96},
    {"speech_head.weight", {8194, 1024}, 8390655, 0x9147e3129ed14edc, 0.8488331083300642, 0x3d9aaca2},
    {"mel2wav.conv_post.bias", {18}, 3, 0x51e592e9f32a804d, 0.82238549688462326, 0xbff6bc12},
    {"mel2wav.f0_predictor.classifier.weight", {1, 512}, 100, 0x3f16b5914632863f, 0.55051393834086193, 0x3ff7777d},
    {"speaker_encoder.head.bn1.running_var", {32}, 5, 0xf1ba878fe62fab1d, 0.29755455562273803, 0x3f6b4504},
    {"flow.encoder.encoders.0.self_attn.pos_bias_u", {8, 64}, 11, 0x613280022265bfc2, 0.39912628633093461, 0xbd77e841},
    {"lstm.weight_ih_l0", {1024, 40}, 40959, 0xaaf6a1446cce0782, 0.20765172399362375, 0xbe23f801},
    {"mel2wav.resblocks.0.convs1.0.parametrizations.weight.original1",
     {256, 256, 3},
     4242,
     0x4b66154e9e01673c,
     0.72078640707913655,
     0x3ce215d5},
    {"flow.decoder.estimator.final_proj.bias", {80}, 79, 0x3ea9e720a4ef89bc, 0.93343666768516331, 0xc0844293},
};

std::vector<float> filled(const std::string& name, const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const std::int64_t dim : shape) {
    count *= static_cast<std::size_t>(dim);
  }
  std::vector<float> values(count);
  fill_synthetic(name, shape, values);
  return values;
}

TEST(SyntheticWeights, GivesTheTestVectorsBitForBit) {
  for (const Vector& v : vectors) {
    EXPECT_EQ(weight_seed(v.name), v.seed) << v.name;
    EXPECT_EQ(weight_uniform(v.seed, v.index), v.uniform) << v.name;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(filled(v.name, v.shape)[v.index]), v.bits) << v.name;
  }
}

TEST(SyntheticWeights, ElementsDoNotDependOnTheSizeThatIsFilledAtOnce) {
  // The first rows of a large tensor, filled by several threads, are those of a small one, filled by one.
  const auto large = filled("text_emb.weight", {2000, 1024});
  const auto small = filled("text_emb.weight", {20, 1024});
  EXPECT_TRUE(std::equal(small.begin(), small.end(), large.begin()));
  const std::uint64_t seed = weight_seed("text_emb.weight");
  for (std::size_t i = 0; i < large.size(); i += 997) {
    EXPECT_EQ(large[i], static_cast<float>(0.1 * (2 * weight_uniform(seed, i) - 1))) << i;
  }
}

TEST(SyntheticWeights, ConstantsAreExact) {
  EXPECT_EQ(filled("similarity_weight", {1})[0], 10.0f);
  EXPECT_EQ(filled("similarity_bias", {1})[0], -5.0f);
}

TEST(SyntheticWeights, TablesAndCountersAreRefusedByName) {
  EXPECT_CONTAINS(tests::message_of([] { filled("tokenizer._mel_filters", {128, 201}); }), "tokenizer._mel_filters");
  EXPECT_CONTAINS(tests::message_of([] { filled("tokenizer.window", {400}); }), "tokenizer.window");
  EXPECT_CONTAINS(tests::message_of([] { filled("a.num_batches_tracked", {}); }), "a.num_batches_tracked");
  EXPECT_TRUE(is_batch_counter("a.num_batches_tracked"));
}

TEST(SyntheticWeights, AWrongAmountOfRoomIsRefused) {
  std::vector<float> values(3);
  const std::vector<std::int64_t> shape{2, 2};
  EXPECT_CONTAINS(tests::message_of([&] { fill_synthetic("w", shape, values); }), "\"w\": expected 4 elements");
}

} // namespace
} // namespace audiobookd::engine::chatterbox
