// The vocoder against the reference: F0, source, every recorded stage and the waveform, from the recorded source and
// end to end, each utterance alone and all of them in one padded batch.
#include "engine/models/chatterbox/hift.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {
namespace {

using engine::chatterbox::Hift;
using engine::chatterbox::VocoderInput;

class GoldenHift : public ::testing::Test {
protected:
  void SetUp() override { AUDIOBOOKD_REQUIRE_CASE("hift"); }

  static Hift tiny_hift() {
    const auto& config = tiny_config();
    return {config.hift, config.flow.mel_channels, tiny_weights().select("mel2wav.")};
  }
};

VocoderInput input_of(const GoldenCase& golden, const std::string& unit) {
  return {golden.on_device(unit + ".mel").squeeze(0), golden.on_device(unit + ".phase").flatten(),
          golden.on_device(unit + ".noise").squeeze(0)};
}

std::vector<VocoderInput> inputs_of(const GoldenCase& golden) {
  std::vector<VocoderInput> inputs;
  for (const std::string& unit : golden.units("wav")) {
    inputs.push_back(input_of(golden, unit));
  }
  return inputs;
}

void expect_stages(const Probed& seen, const GoldenCase& golden, const std::string& unit, double stft_tolerance,
                   double tolerance) {
  for (const char* name : {"source_stft", "conv_pre", "up0", "source_down0", "source_res0", "res0", "up1", "up2",
                           "conv_post", "magnitude", "spec_phase"}) {
    if (!golden.contains(unit + "." + name)) {
      continue;
    }
    SCOPED_TRACE(name);
    const std::string_view which = name;
    const double limit = which == "source_stft"                    ? stft_tolerance
                         : (which == "conv_pre" || which == "up0") ? 2e-4
                                                                   : tolerance;
    const at::Tensor recorded = golden.at(unit + "." + name);
    EXPECT_TENSOR_NEAR(seen.at(name).view(recorded.sizes()), recorded, limit);
  }
}

TEST_F(GoldenHift, WindowMatchesTheReference) {
  const GoldenCase golden("hift");
  EXPECT_TENSOR_NEAR(tiny_hift().fourier().window(), golden.at("window"), 1e-6);
}

TEST_F(GoldenHift, SourceFromRecordedF0MatchesTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("hift");
  const Hift hift = tiny_hift();
  const std::vector<std::string> units = golden.units("source");
  ASSERT_FALSE(units.empty());
  for (const std::string& unit : units) {
    SCOPED_TRACE(unit);
    const VocoderInput input = input_of(golden, unit);
    const at::Tensor source = hift.source()(golden.on_device(unit + ".f0").squeeze(0), input.phase, input.noise);
    EXPECT_TENSOR_NEAR(source, golden.at(unit + ".source").flatten(), 1e-6);
  }
}

TEST_F(GoldenHift, StagesFromRecordedSourceMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("hift");
  const Hift hift = tiny_hift();
  for (const std::string& unit : golden.units("wav")) {
    SCOPED_TRACE(unit);
    const at::Tensor mel = golden.on_device(unit + ".mel");
    const std::vector<std::int64_t> lengths{mel.size(2)};
    const std::vector<at::Tensor> sources{golden.on_device(unit + ".source").flatten()};
    const Probed seen =
        probe_into([&](const engine::Probe& probe) { probe("wav", hift.decode(mel, lengths, sources, probe).at(0)); });
    expect_stages(seen, golden, unit, 1e-5, 3e-4);
    EXPECT_TENSOR_NEAR(seen.at("wav").unsqueeze(0), golden.at(unit + ".wav"), 5e-5);
  }
}

TEST_F(GoldenHift, StagesEndToEndMatchTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("hift");
  const Hift hift = tiny_hift();
  for (const std::string& unit : golden.units("wav")) {
    SCOPED_TRACE(unit);
    const std::vector<VocoderInput> inputs{input_of(golden, unit)};
    const Probed seen = probe_into([&](const engine::Probe& probe) { probe("wav", hift.render(inputs, probe).at(0)); });
    EXPECT_TENSOR_NEAR(seen.at("f0").unsqueeze(0), golden.at(unit + ".f0"), 5e-3);
    EXPECT_TENSOR_NEAR(seen.at("source").view({1, 1, -1}), golden.at(unit + ".source"), 5e-4);
    expect_stages(seen, golden, unit, 2e-2, 2e-2);
    EXPECT_TENSOR_NEAR(seen.at("wav").unsqueeze(0), golden.at(unit + ".wav"), 1e-2);
    EXPECT_GT(signal_to_noise_db(seen.at("wav").unsqueeze(0), golden.at(unit + ".wav")), 40);
  }
}

TEST_F(GoldenHift, PaddedBatchFromRecordedSourcesMatchesTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("hift");
  const Hift hift = tiny_hift();
  const std::vector<std::string> units = golden.units("wav");
  std::vector<std::int64_t> lengths;
  std::vector<at::Tensor> sources;
  for (const std::string& unit : units) {
    lengths.push_back(golden.at(unit + ".mel").size(2));
    sources.push_back(golden.on_device(unit + ".source").flatten());
  }
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  at::Tensor mel = at::zeros({static_cast<std::int64_t>(units.size()), 80, longest}, test_device());
  for (std::size_t i = 0; i < units.size(); ++i) {
    mel[static_cast<std::int64_t>(i)].narrow(1, 0, lengths[i]).copy_(golden.at(units[i] + ".mel").squeeze(0));
  }
  const std::vector<at::Tensor> waves = hift.decode(mel, lengths, sources);
  for (std::size_t i = 0; i < units.size(); ++i) {
    SCOPED_TRACE(units[i]);
    EXPECT_TENSOR_NEAR(waves[i].unsqueeze(0), golden.at(units[i] + ".wav"), 5e-5);
  }
}

TEST_F(GoldenHift, PaddedBatchEndToEndMatchesTheReference) {
  const c10::InferenceMode inference;
  const GoldenCase golden("hift");
  const Hift hift = tiny_hift();
  const std::vector<std::string> units = golden.units("wav");
  std::vector<at::Tensor> f0, sources;
  const std::vector<at::Tensor> waves =
      hift.render(inputs_of(golden), [&](std::string_view name, const at::Tensor& value) {
        if (name == "f0" || name == "source") {
          (name == "f0" ? f0 : sources).push_back(value.clone());
        }
      });
  for (std::size_t i = 0; i < units.size(); ++i) {
    SCOPED_TRACE(units[i]);
    EXPECT_TENSOR_NEAR(f0[i].unsqueeze(0), golden.at(units[i] + ".f0"), 5e-3);
    EXPECT_TENSOR_NEAR(sources[i].view({1, 1, -1}), golden.at(units[i] + ".source"), 5e-4);
    EXPECT_TENSOR_NEAR(waves[i].unsqueeze(0), golden.at(units[i] + ".wav"), 1e-2);
    EXPECT_GT(signal_to_noise_db(waves[i].unsqueeze(0), golden.at(units[i] + ".wav")), 40);
  }
}

} // namespace
} // namespace audiobookd::tests
