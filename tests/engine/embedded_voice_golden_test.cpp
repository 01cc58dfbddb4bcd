// The embedded voice's own recording (tools/embedded_voice, `record`): the engine draws the greedy tokens that the
// reference drew with these weights, from the text on.
#include "engine/models/chatterbox/text_norm.h"
#include "tests/engine/engine_run.h"
#include "tests/engine/t3_fixture.h"

#include <ATen/ATen.h>

namespace audiobookd::tests {
namespace {

std::filesystem::path embedded_voice() { return data_dir().parent_path().parent_path() / "models/embedded"; }

engine::Utterance recorded_utterance(const GoldenCase& golden, const std::string& unit, engine::UtteranceId id) {
  const at::Tensor params = golden.at(unit + ".params");
  const auto param = [&params](int i) { return params[i].item<float>(); };
  engine::Utterance u = utterance(id, golden.note(unit + ".text"));
  u.sampling = {.cfg_weight = param(0),
                .repetition_penalty = param(1),
                .temperature = param(2),
                .min_p = param(3),
                .top_p = param(4),
                .greedy = true};
  u.exaggeration = param(5);
  u.cfm_steps = 1; // the sound does not matter here
  return u;
}

/// Without the stop token, which the engine does not hand on.
std::vector<std::int32_t> recorded_tokens(const GoldenCase& golden, const std::string& unit, int stop_token) {
  std::vector<std::int32_t> tokens = to_ids(golden.at(unit + ".tokens"));
  EXPECT_EQ(tokens.back(), stop_token) << "it did not stop by itself";
  tokens.pop_back();
  return tokens;
}

TEST(GoldenEmbeddedVoice, TextBecomesTheRecordedTokens) {
  AUDIOBOOKD_REQUIRE_CASE("embedded_t3");
  const GoldenCase golden("embedded_t3");
  const auto config = engine::chatterbox::Config::load(embedded_voice());
  const auto tokenizer = engine::chatterbox::load_english_tokenizer(embedded_voice(), config.t3);
  const auto units = golden.units("tokens");
  ASSERT_FALSE(units.empty());
  for (const std::string& unit : units) {
    const auto ids =
        engine::chatterbox::encode_english(tokenizer, engine::chatterbox::punc_norm(golden.note(unit + ".text")));
    EXPECT_EQ(ids, to_ids(golden.at(unit + ".text_ids"))) << unit;
  }
}

TEST(GoldenEmbeddedVoice, GreedySpeechTokensAreTheRecordedOnes) {
  AUDIOBOOKD_REQUIRE_CASE("embedded_t3");
  const GoldenCase golden("embedded_t3");
  engine::EngineOptions options;
  options.checkpoint = embedded_voice();
  options.device = test_device().str();
  options.dtype = "fp32";
  options.max_batch = 8;
  const auto engine = engine::Engine::load(options);
  EXPECT_FALSE(engine->info().synthetic);
  const auto units = golden.units("tokens");
  std::vector<engine::Utterance> utterances;
  for (const std::string& unit : units) {
    utterances.push_back(recorded_utterance(golden, unit, utterances.size()));
  }
  Recorder recorder(utterances);
  engine->run(recorder, recorder, recorder.stop.get_token());
  EXPECT_TRUE(recorder.failures.empty());
  const int stop_token = engine::chatterbox::Config::load(embedded_voice()).t3.stop_speech_token;
  for (const engine::Utterance& u : utterances) {
    const std::string& unit = units[u.id];
    EXPECT_GE(golden.at(unit + ".min_margin").item<float>(), 5e-4F) << "too close a choice to compare: " << unit;
    EXPECT_EQ(recorder.speech_tokens[u.id], recorded_tokens(golden, unit, stop_token)) << u.text;
    EXPECT_FALSE(recorder.waveforms.at(u.id).hit_token_limit);
  }
}

} // namespace
} // namespace audiobookd::tests
