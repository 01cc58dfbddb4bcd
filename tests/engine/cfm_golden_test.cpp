// The flow estimator against the reference: time embedding, schedule, every recorded stage of a guided pair.
#include "engine/models/chatterbox/cfm_decoder.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::PackedRows;
using engine::chatterbox::CfmDecoder;
using engine::chatterbox::cosine_schedule;
using engine::chatterbox::FlowConditions;

class GoldenCfmEstimator : public ::testing::Test {
protected:
  void SetUp() override { AUDIOBOOKD_REQUIRE_CASE("cfm_estimator"); }
};

/// [1, channels, frames] of the golden file as packed rows [frames, channels].
at::Tensor frames_of(const GoldenCase& golden, const std::string& key) {
  return golden.on_device(key).squeeze(0).t().contiguous();
}

FlowConditions conditions_of(const GoldenCase& golden, const std::string& unit) {
  const at::Tensor mu = frames_of(golden, unit + ".mu");
  return {mu, golden.on_device(unit + ".spk").expand({mu.size(0), -1}), frames_of(golden, unit + ".cond")};
}

TEST_F(GoldenCfmEstimator, GuidedPairsMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("cfm_estimator");
  const CfmDecoder decoder(tiny_config().flow, tiny_weights().select("flow."));
  const std::vector<std::string> units = golden.units("dxdt");
  ASSERT_FALSE(units.empty());
  for (const std::string& unit : units) {
    SCOPED_TRACE(unit);
    const at::Tensor x = frames_of(golden, unit + ".x");
    const Probed seen = probe_into([&](const engine::Probe& probe) {
      const at::Tensor pair = decoder.guided_pair(x, conditions_of(golden, unit), golden.on_device(unit + ".t"),
                                                  PackedRows({x.size(0)}, test_device()), probe);
      probe("dxdt", pair);
      probe("guided", CfmDecoder::guide(pair).unsqueeze(0));
    });
    for (const char* name :
         {"down_resnet", "down_attn", "down_conv", "mid_out", "up_conv", "final_block", "dxdt", "guided"}) {
      if (golden.contains(unit + "." + name)) {
        SCOPED_TRACE(name);
        const at::Tensor recorded = golden.at(unit + "." + name);
        const bool channels_last = name == std::string_view("down_attn") || name == std::string_view("mid_out");
        EXPECT_TENSOR_NEAR(channels_last ? seen.at(name) : seen.at(name).transpose(1, 2), recorded, 1e-4);
      }
    }
  }
}

TEST_F(GoldenCfmEstimator, PackedPairsMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("cfm_estimator");
  const CfmDecoder decoder(tiny_config().flow, tiny_weights().select("flow."));
  for (const std::string& unit : golden.units("dxdt")) {
    // The other utterances bring their own lengths; the time is the unit's.
    std::vector<at::Tensor> x, mu, speaker, prompt_mel;
    std::vector<std::int64_t> lengths;
    for (const std::string& member : golden.units("dxdt")) {
      const FlowConditions conditions = conditions_of(golden, member);
      x.push_back(frames_of(golden, member + ".x"));
      mu.push_back(conditions.mu);
      speaker.push_back(conditions.speaker);
      prompt_mel.push_back(conditions.prompt_mel);
      lengths.push_back(x.back().size(0));
    }
    const PackedRows frames(lengths, test_device());
    const at::Tensor pair = decoder.guided_pair(at::cat(x), {at::cat(mu), at::cat(speaker), at::cat(prompt_mel)},
                                                golden.on_device(unit + ".t"), frames);
    const std::vector<std::string> members = golden.units("dxdt");
    const auto index = std::find(members.begin(), members.end(), unit) - members.begin();
    SCOPED_TRACE(unit);
    EXPECT_TENSOR_NEAR(pair.narrow(1, frames.start(index), frames.length(index)).transpose(1, 2),
                       golden.at(unit + ".dxdt"), 1e-4);
  }
}

TEST_F(GoldenCfmEstimator, TimeEmbeddingMatchesTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("cfm_estimator");
  const auto& config = tiny_config();
  const CfmDecoder decoder(config.flow, tiny_weights().select("flow."));
  for (const std::string& unit : golden.units("time_emb")) {
    SCOPED_TRACE(unit);
    const at::Tensor time = golden.on_device(unit + ".t");
    EXPECT_TENSOR_NEAR(engine::chatterbox::time_sinusoids(time, config.flow.estimator_in_channels),
                       golden.at(unit + ".time_sinusoid"), 1e-4);
    EXPECT_TENSOR_NEAR(decoder.estimator().time_embedding(time), golden.at(unit + ".time_emb"), 1e-4);
  }
}

TEST_F(GoldenCfmEstimator, SchedulesMatchTheReference) {
  const GoldenCase golden("cfm_estimator");
  int compared = 0;
  for (int steps = 1; steps <= 100; ++steps) {
    const std::string key = "t_span_" + std::to_string(steps);
    if (golden.contains(key)) {
      SCOPED_TRACE(key);
      EXPECT_TENSOR_NEAR(cosine_schedule(steps), golden.at(key), 1e-6);
      ++compared;
    }
  }
  EXPECT_GT(compared, 0);
}

} // namespace
} // namespace audiobookd::tests
