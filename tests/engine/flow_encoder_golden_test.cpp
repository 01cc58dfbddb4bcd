// The flow encoder against the reference: every recorded stage, each utterance alone and all of them packed together.
#include "engine/models/chatterbox/flow_encoder.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::PackedRows;

class GoldenFlowEncoder : public ::testing::Test {
protected:
  void SetUp() override { AUDIOBOOKD_REQUIRE_CASE("flow_encoder"); }
};

/// The embedded rows and what is computed from them before the upsampled norm are about eight times larger.
double tolerance_of(std::string_view name) { return name == "encoder_out" || name == "mu" ? 5e-5 : 2e-4; }

TEST_F(GoldenFlowEncoder, StagesMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("flow_encoder");
  engine::chatterbox::FlowEncoder encoder(tiny_config().flow, tiny_weights().select("flow."));
  const std::vector<std::string> units = golden.units("mu");
  ASSERT_FALSE(units.empty());
  for (const std::string& unit : units) {
    SCOPED_TRACE(unit);
    const at::Tensor tokens = prompted_tokens(golden, unit);
    const Probed seen = probe_into([&](const engine::Probe& probe) {
      probe("mu", encoder.forward(tokens, PackedRows({tokens.size(0)}, test_device()), probe));
    });
    for (const char* name : {"embed", "lookahead", "low_rate", "upsampled", "encoder_out", "mu"}) {
      if (golden.contains(unit + "." + name)) {
        SCOPED_TRACE(name);
        const at::Tensor recorded = golden.at(unit + "." + name);
        const bool channels_first = name == std::string_view("upsampled");
        EXPECT_TENSOR_NEAR(seen.at(name).unsqueeze(0), channels_first ? recorded.transpose(1, 2) : recorded,
                           tolerance_of(name));
      }
    }
  }
}

TEST_F(GoldenFlowEncoder, PackedUtterancesMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("flow_encoder");
  engine::chatterbox::FlowEncoder encoder(tiny_config().flow, tiny_weights().select("flow."));
  const std::vector<std::string> units = golden.units("mu");
  std::vector<at::Tensor> tokens;
  std::vector<std::int64_t> lengths;
  for (const std::string& unit : units) {
    tokens.push_back(prompted_tokens(golden, unit));
    lengths.push_back(tokens.back().size(0));
  }
  const PackedRows rows(lengths, test_device());
  const at::Tensor mu = encoder.forward(at::cat(tokens), rows);
  for (std::size_t i = 0; i < units.size(); ++i) {
    SCOPED_TRACE(units[i]);
    EXPECT_TENSOR_NEAR(mu.narrow(0, 2 * rows.start(i), 2 * rows.length(i)).unsqueeze(0), golden.at(units[i] + ".mu"),
                       5e-5);
  }
}

} // namespace
} // namespace audiobookd::tests
