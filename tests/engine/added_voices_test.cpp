// Voices that come while the engine runs: many in one batch, one that is new, and those that the model cannot take.
#include "engine/engine.h"
#include "engine/voice_file.h"
#include "tests/engine/engine_run.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <algorithm>
#include <set>

namespace audiobookd::tests {
namespace {

using engine::Engine;
using engine::Utterance;
using engine::UtteranceId;
using engine::VoiceConditionals;

/// The recorded voice with other values and other lengths.
VoiceConditionals voice_number(int number) {
  VoiceConditionals voice = engine::read_conds(tiny_checkpoint() / "conds.pt");
  const auto shift = static_cast<std::ptrdiff_t>(number);
  std::ranges::rotate(voice.speaker_embedding, voice.speaker_embedding.begin() + shift);
  std::ranges::rotate(voice.xvector, voice.xvector.begin() + shift);
  std::ranges::rotate(voice.t3_prompt_tokens, voice.t3_prompt_tokens.begin() + shift);
  voice.t3_prompt_tokens.resize(voice.t3_prompt_tokens.size() - static_cast<std::size_t>(number));
  voice.prompt_tokens.resize(voice.prompt_tokens.size() - static_cast<std::size_t>(number % 7));
  voice.prompt_mel.resize(160 * voice.prompt_tokens.size());
  return voice;
}

Utterance said_by(const std::string& voice, UtteranceId id) {
  Utterance u = utterance(id, "The keeper counted the ships.");
  u.voice = voice;
  u.forced_tokens = 12;
  u.cfm_steps = 2;
  return u;
}

struct Rendered {
  std::map<UtteranceId, std::vector<std::int32_t>> tokens;
  std::map<UtteranceId, engine::Waveform> waveforms;
};

Rendered render_all(Engine& engine, std::vector<Utterance> utterances) {
  Recorder recorder(std::move(utterances));
  engine.run(recorder, recorder, recorder.stop.get_token());
  EXPECT_TRUE(recorder.failures.empty());
  return {recorder.speech_tokens, recorder.waveforms};
}

TEST(AddedVoices, TwentyInOneBatchGiveWhatEachAloneGives) {
  constexpr int count = 20;
  engine::EngineOptions options = tiny_options();
  options.max_batch = count + 2; // and the reserve for urgent ones
  const auto engine = Engine::load(options);
  std::vector<Utterance> together;
  std::set<std::vector<std::int32_t>> different;
  for (int i = 0; i < count; ++i) {
    together.push_back(said_by(engine->add_voice(voice_number(i)), static_cast<UtteranceId>(i)));
  }
  const Rendered all = render_all(*engine, together);
  ASSERT_EQ(all.waveforms.size(), together.size());
  for (const Utterance& u : together) {
    SCOPED_TRACE(u.id);
    const Rendered alone = render_all(*engine, {u});
    EXPECT_EQ(all.tokens.at(u.id), alone.tokens.at(u.id));
    const std::vector<float>& samples = all.waveforms.at(u.id).samples;
    const std::vector<float>& expected = alone.waveforms.at(u.id).samples;
    if (options.device == "cpu") {
      EXPECT_EQ(samples, expected);
    } else {
      EXPECT_GT(signal_to_noise_db(at::tensor(samples), at::tensor(expected)), 30);
    }
    different.insert(all.tokens.at(u.id));
  }
  EXPECT_EQ(different.size(), static_cast<std::size_t>(count)) << "every voice is heard";
}

/// Hands out a first utterance; adds a voice once it was taken, and hands out one that it says.
class NewVoice : public Recorder {
public:
  NewVoice(Engine& engine, const std::string& name)
      : Recorder({said_by("default", 0), said_by(name, 1)}), engine_(engine), name_(name) {}

  std::vector<Utterance> next(std::size_t free_capacity) override {
    if (handed_out == 1) {
      EXPECT_EQ(engine_.add_voice(voice_number(3)), name_);
    }
    return Recorder::next(std::min<std::size_t>(free_capacity, 1));
  }

private:
  Engine& engine_;
  std::string name_;
};

TEST(AddedVoices, OneThatComesWhileTheEngineRunsIsUsableAtOnce) {
  const auto engine = Engine::load(tiny_options());
  const auto other = Engine::load(tiny_options());
  const std::string name = other->add_voice(voice_number(3));
  EXPECT_EQ(name.size(), 32U);
  EXPECT_EQ(other->voice_hash(name).hex(), name);
  EXPECT_CONTAINS(message_of([&] { (void)engine->voice_hash(name); }), "does not exist (there are: default)");
  NewVoice work(*engine, name);
  engine->run(work, work, work.stop.get_token());
  EXPECT_TRUE(work.failures.empty());
  EXPECT_EQ(work.speech_tokens.at(1), render_all(*other, {said_by(name, 1)}).tokens.at(1));
}

TEST(AddedVoices, NamesFollowFromValues) {
  const auto engine = Engine::load(tiny_options());
  EXPECT_EQ(engine->add_voice(voice_number(1)), engine->add_voice(voice_number(1)));
  EXPECT_NE(engine->add_voice(voice_number(1)), engine->add_voice(voice_number(2)));
  EXPECT_EQ(engine->add_voice(voice_number(0)), engine->voice_hash("default").hex());
}

TEST(AddedVoices, OnesOfAnotherModelAreRefusedByField) {
  const auto engine = Engine::load(tiny_options());
  const auto refusal = [&](const std::function<void(VoiceConditionals&)>& change) {
    VoiceConditionals voice = voice_number(0);
    change(voice);
    return message_of([&] { (void)engine->add_voice(voice); });
  };
  EXPECT_CONTAINS(refusal([](auto& v) { v.speaker_embedding.pop_back(); }),
                  "t3.speaker_emb has 255 numbers (expected 256)");
  EXPECT_CONTAINS(refusal([](auto& v) { v.xvector.push_back(0); }), "gen.embedding has 193 numbers (expected 192)");
  EXPECT_CONTAINS(refusal([](auto& v) { v.t3_prompt_tokens.resize(375); }), "has 375 tokens (expected at most 150)");
  EXPECT_CONTAINS(refusal([](auto& v) { v.prompt_mel.clear(); }), "gen.prompt_feat is empty");
}

} // namespace
} // namespace audiobookd::tests
