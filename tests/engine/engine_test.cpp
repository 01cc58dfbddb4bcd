// The engine behind its door: everything the source hands out is delivered once, in any order; bad utterances fail
// alone; cancel and stop; the same utterance gives the same samples in any company; errors name files and fields.
#include "engine/device.h"
#include "engine/models/chatterbox/synthetic_voice.h"
#include "engine/models/chatterbox/voice.h"
#include "tests/engine/engine_run.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"
#include "tests/engine/tiny_config.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <fstream>

namespace audiobookd::tests {
namespace {

using engine::Engine;
using engine::EngineOptions;
using engine::Utterance;
using engine::UtteranceId;

TEST(EngineRun, DeliversEveryUtteranceOnceWithItsLength) {
  const auto engine = Engine::load(tiny_options());
  Recorder recorder(some_utterances(25));
  engine->run(recorder, recorder, recorder.stop.get_token());
  ASSERT_EQ(recorder.waveforms.size(), 25u);
  for (const auto& [id, waveform] : recorder.waveforms) {
    const std::size_t tokens = 4 + (id * 7) % 23;
    EXPECT_EQ(recorder.speech_tokens[id].size(), tokens);
    EXPECT_EQ(waveform.samples.size(), 960 * tokens);
    EXPECT_EQ(waveform.sample_rate, 24000);
    EXPECT_TRUE(
        std::all_of(waveform.samples.begin(), waveform.samples.end(), [](float s) { return std::abs(s) <= 0.99f; }));
  }
  const engine::EngineStats stats = engine->stats();
  EXPECT_EQ(stats.utterances_finished, 25u);
  EXPECT_GT(stats.decode_steps, 0u);
  EXPECT_GT(stats.cfm_seconds, 0);
  EXPECT_EQ(stats.out_of_memory, 0u);
}

TEST(EngineRun, SameSamplesAloneAndInAnyCompanyOnTheCpu) {
  const auto engine = Engine::load(tiny_options());
  auto list = some_utterances(12);
  const auto together = render(*engine, list);
  std::reverse(list.begin(), list.end());
  const auto reversed = render(*engine, list);
  for (const Utterance& u : list) {
    const auto alone = render(*engine, {u});
    EXPECT_EQ(alone.at(u.id).samples, together.at(u.id).samples) << u.id;
    EXPECT_EQ(reversed.at(u.id).samples, together.at(u.id).samples) << u.id;
  }
}

TEST(EngineRun, ResumingFromSpeechTokensGivesTheSameSamples) {
  const auto engine = Engine::load(tiny_options());
  Recorder recorder(some_utterances(3));
  engine->run(recorder, recorder, recorder.stop.get_token());
  auto resumed = some_utterances(3);
  for (Utterance& u : resumed) {
    u.speech_tokens = recorder.speech_tokens[u.id];
  }
  for (const auto& [id, waveform] : render(*engine, resumed)) {
    EXPECT_EQ(waveform.samples, recorder.waveforms.at(id).samples);
  }
}

TEST(EngineRun, SeedAndAttemptChangeTheAudio) {
  const auto engine = Engine::load(tiny_options());
  auto list = some_utterances(1);
  const auto first = render(*engine, list).at(0).samples;
  list[0].seed = 6;
  EXPECT_NE(render(*engine, list).at(0).samples, first);
  list[0].seed = 5;
  list[0].attempt = 1;
  EXPECT_NE(render(*engine, list).at(0).samples, first);
}

TEST(EngineRun, BadUtterancesFailAloneAndSayWhy) {
  auto list = some_utterances(2);
  list.push_back(utterance(10, "   "));
  list.push_back(utterance(11, "Hello."));
  list.back().voice = "nobody";
  list.push_back(utterance(12, "Hello."));
  list.back().sampling.temperature = 0;
  list.push_back(utterance(13, "Hello."));
  list.back().speech_tokens = {1, 7000};
  std::string long_text;
  for (int i = 0; i < 400; ++i) {
    long_text += "zq ";
  }
  list.push_back(utterance(14, long_text));
  list.push_back(utterance(15, "Hello."));
  list.back().sampling.top_k = -1;
  const auto engine = Engine::load(tiny_options());
  Recorder recorder(std::move(list));
  engine->run(recorder, recorder, recorder.stop.get_token());
  EXPECT_EQ(recorder.waveforms.size(), 2u);
  EXPECT_NE(recorder.failures[10].find("empty"), std::string::npos) << recorder.failures[10];
  EXPECT_NE(recorder.failures[11].find("\"nobody\""), std::string::npos) << recorder.failures[11];
  EXPECT_NE(recorder.failures[12].find("temperature"), std::string::npos) << recorder.failures[12];
  EXPECT_NE(recorder.failures[13].find("7000"), std::string::npos) << recorder.failures[13];
  EXPECT_NE(recorder.failures[14].find("at most 256"), std::string::npos) << recorder.failures[14];
  EXPECT_NE(recorder.failures[15].find("top_k"), std::string::npos) << recorder.failures[15];
}

TEST(EngineRun, CancelledUtterancesDoNotComeBack) {
  EngineOptions options = tiny_options();
  options.max_batch = 8; // one place more than these and the reserve
  const auto engine = Engine::load(options);
  auto list = some_utterances(6);
  list[5].forced_tokens = 400; // still decoding when the first one is done
  Recorder recorder(std::move(list));
  recorder.on_tokens = [&, first = true](UtteranceId id) mutable {
    if (first && id != 5) {
      first = false;
      engine->cancel(5);
      recorder.forget_one();
    }
  };
  engine->run(recorder, recorder, recorder.stop.get_token());
  EXPECT_EQ(recorder.waveforms.size(), 5u);
  EXPECT_EQ(recorder.waveforms.count(5), 0u);
  EXPECT_LT(engine->stats().decode_steps, 100u) << "the cancelled utterance went on decoding";
}

TEST(EngineRun, StopFinishesWhatWasAdmittedAndTakesNothingNew) {
  const auto engine = Engine::load(tiny_options());
  Recorder recorder(some_utterances(30));
  recorder.on_tokens = [&](UtteranceId) { recorder.stop.request_stop(); };
  engine->run(recorder, recorder, recorder.stop.get_token());
  EXPECT_EQ(recorder.waveforms.size(), recorder.handed_out);
  EXPECT_LT(recorder.handed_out, 30u);
}

/// Has one urgent utterance as soon as the first tokens of others are there.
class UrgentLater final : public Recorder {
public:
  UrgentLater(std::vector<Utterance> others, const Utterance& urgent)
      : Recorder(with(std::move(others), urgent)), urgent_(urgent.id) {
    on_tokens = [this](UtteranceId) { arrived_ = true; };
  }
  std::vector<Utterance> next(std::size_t free_capacity) override {
    std::vector<Utterance> offered = Recorder::next(free_capacity);
    std::erase_if(offered, [this](Utterance& u) { return u.id == urgent_ && keep(u); });
    return offered;
  }
  std::vector<Utterance> next_urgent(std::size_t free_capacity) override {
    return arrived_ && free_capacity > 0 ? std::exchange(held_, {}) : std::vector<Utterance>{};
  }
  void finished(UtteranceId id, engine::Waveform waveform) override {
    finished_before_ += id != urgent_ && waveforms.count(urgent_) == 0 ? 1 : 0; // on the only synthesis thread
    Recorder::finished(id, std::move(waveform));
  }
  [[nodiscard]] int finished_before() const { return finished_before_; }

private:
  static std::vector<Utterance> with(std::vector<Utterance> others, const Utterance& urgent) {
    others.insert(others.begin(), urgent);
    return others;
  }
  bool keep(Utterance& u) {
    held_.push_back(std::move(u));
    return true;
  }
  UtteranceId urgent_;
  bool arrived_ = false; // decode thread only, as is held_
  std::vector<Utterance> held_;
  int finished_before_ = 0;
};

TEST(EngineRun, AnUrgentUtteranceOvertakesABatchThatIsFull) {
  EngineOptions options = tiny_options();
  options.cpu_threads = 1;
  const auto engine = Engine::load(options);
  auto others = some_utterances(30);
  for (std::size_t i = 1; i < others.size(); ++i) {
    others[i].forced_tokens = 120; // the first one, of 4 tokens, calls the urgent one
  }
  Utterance urgent = utterance(1000, "Who is there?");
  urgent.forced_tokens = 30;
  urgent.cfm_steps = 2;
  urgent.urgent = true;
  const auto expected = render(*engine, {urgent});
  UrgentLater recorder(std::move(others), urgent);
  engine->run(recorder, recorder, recorder.stop.get_token());
  EXPECT_EQ(recorder.waveforms.size(), 31u);
  EXPECT_LE(recorder.finished_before(), 1);
  if (test_device().is_cpu()) { // on a GPU the company may change the last bits
    EXPECT_EQ(recorder.waveforms.at(1000).samples, expected.at(1000).samples);
  }
}

TEST(EngineRun, SyntheticWeightsTakeTheirPredictedLength) {
  const auto engine = Engine::load(tiny_options());
  EXPECT_TRUE(engine->info().synthetic);
  Utterance u = utterance(1, "A line of thirty characters ..");
  u.cfm_steps = 1;
  const auto waveforms = render(*engine, {u});
  EXPECT_EQ(waveforms.at(1).samples.size(), 960u * static_cast<std::size_t>(engine->predict_tokens(u.text)));
  EXPECT_EQ(engine->predict_tokens(u.text), 47); // 30 * 1.55 rounded up
}

TEST(EngineRun, AlignmentHeadsAreReportedWhenAskedFor) {
  EngineOptions options = tiny_options();
  options.alignment_heads = {{1, 0}, {0, 3}};
  const auto engine = Engine::load(options);
  Recorder recorder(some_utterances(4));
  engine->run(recorder, recorder, recorder.stop.get_token());
  EXPECT_EQ(recorder.alignments.size(), 4u);
  for (const auto& [id, alignment] : recorder.alignments) {
    ASSERT_EQ(alignment.num_heads, 2u);
    ASSERT_EQ(alignment.positions.size(), 2 * recorder.speech_tokens.at(id).size());
    EXPECT_EQ(alignment.positions[0], -1);
    EXPECT_TRUE(std::all_of(alignment.positions.begin() + 2, alignment.positions.end(),
                            [length = alignment.text_length](std::int32_t p) { return p >= 0 && p < length; }));
  }
  options.alignment_heads.clear();
  Recorder without(some_utterances(4));
  const auto unwatched = Engine::load(options);
  unwatched->run(without, without, without.stop.get_token());
  EXPECT_TRUE(without.alignments.empty());
  EXPECT_EQ(without.speech_tokens, recorder.speech_tokens);
}

TEST(EngineKeys, NameWhatTheSamplesDependOn) {
  const auto engine = Engine::load(tiny_options());
  const Utterance base = utterance(1, "Hello.");
  const std::string key = engine->chunk_key(base);
  EXPECT_EQ(key.size(), 32u);
  Utterance other = base;
  other.id = 77;     // which call rendered it does not matter
  other.attempt = 2; // kept beside the audio instead
  EXPECT_EQ(engine->chunk_key(other), key);
  const std::vector<std::function<void(Utterance&)>> changes = {[](Utterance& u) { u.key.low ^= 1; },
                                                                [](Utterance& u) { u.seed = 9; },
                                                                [](Utterance& u) { u.exaggeration = 0.7f; },
                                                                [](Utterance& u) { u.cfm_steps = 9; },
                                                                [](Utterance& u) { u.sampling.top_p = 0.9f; },
                                                                [](Utterance& u) { u.sampling.top_k = 50; },
                                                                [](Utterance& u) { u.sampling.min_p = 0.1f; },
                                                                [](Utterance& u) { u.sampling.cfg_weight = 0; },
                                                                [](Utterance& u) { u.sampling.temperature = 1; }};
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Utterance changed = base;
    changes[i](changed);
    EXPECT_NE(engine->chunk_key(changed), key) << "change " << i;
  }
  EXPECT_EQ(engine->utterance_key("hello", "en", "default", 0), engine->utterance_key("Hello.", "en", "default", 0));
  EXPECT_NE(engine->utterance_key("Hello.", "en", "default", 0), engine->utterance_key("Hello.", "en", "default", 1));
  EXPECT_NE(engine->utterance_key("Hello.", "en", "default", 0), engine->utterance_key("Hello!", "en", "default", 0));
}

std::string load_error(const EngineOptions& options) {
  try {
    Engine::load(options);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

TEST(EngineLoad, ArithmeticIsWhatWasAskedForOrWhatTheCpuDoesFast) {
  EngineOptions options = tiny_options();
  options.device = "cpu";
  const bool fast = engine::computes_bf16(at::kCPU);
  EXPECT_EQ(Engine::load(options)->info().dtype, fast ? "bf16 (S3Gen fp32)" : "fp32");
  options.dtype = "fp32";
  EXPECT_EQ(Engine::load(options)->info().dtype, "fp32");
  options.dtype = "bf16";
  if (fast) {
    EXPECT_EQ(Engine::load(options)->info().dtype, "bf16 (S3Gen fp32)");
  } else {
    EXPECT_NE(load_error(options).find("\"bf16\""), std::string::npos) << load_error(options);
  }
  options.dtype = "fp64";
  EXPECT_NE(load_error(options).find("\"fp64\""), std::string::npos) << load_error(options);
}

TEST(EngineLoad, APromptMayBeCutAndIsThenAnotherVoice) {
  using engine::chatterbox::Conditionals;
  using engine::chatterbox::Voice;
  const auto conditionals = Conditionals::read(tiny_checkpoint() / "conds.pt");
  const Voice whole = Voice::from(conditionals, at::kCPU);
  const Voice cut = Voice::from(conditionals, at::kCPU, 0.4);
  EXPECT_EQ(cut.prompt.prompt_token.size(0), 10);
  EXPECT_TRUE(at::equal(cut.prompt.prompt_token, whole.prompt.prompt_token.narrow(0, 0, 10)));
  EXPECT_TRUE(at::equal(cut.prompt.prompt_feat, whole.prompt.prompt_feat.narrow(0, 0, 20)));
  EXPECT_TRUE(at::equal(cut.prompt_speech_tokens, whole.prompt_speech_tokens)) << "that is T3's";
  EXPECT_NE(cut.content_hash, whole.content_hash) << "stored audio of the other would be taken for its own";
  EngineOptions options = tiny_options();
  for (const double seconds : {2.9, 10.1}) {
    options.prompt_seconds = seconds;
    EXPECT_THROW(Engine::load(options), std::invalid_argument) << seconds;
  }
}

/// A copy of the tiny checkpoint to which voices can be added.
class EngineVoices : public testing::Test {
protected:
  EngineVoices() {
    options_.checkpoint = dir_.path() / "copy";
    std::filesystem::copy(tiny_checkpoint(), options_.checkpoint);
  }
  void add_voice(const std::string& file, const std::string& content) {
    std::filesystem::create_directories(options_.checkpoint / "voices");
    write_file(options_.checkpoint / "voices" / file, content);
  }
  static std::string other_voice() {
    const std::vector<char> voice = engine::chatterbox::make_synthetic_voice(tiny_config());
    return {voice.begin(), voice.end()};
  }

  const TempDir dir_;
  EngineOptions options_ = tiny_options();
};

TEST_F(EngineVoices, EveryUtteranceOfABatchSoundsAsItsVoiceSoundsAlone) {
  add_voice("other.pt", other_voice());
  const auto engine = Engine::load(options_);
  EXPECT_EQ(engine->info().voices, (std::vector<std::string>{"default", "other"}));
  auto list = some_utterances(10);
  for (Utterance& u : list) {
    u.voice = u.id % 3 == 1 ? "other" : "default";
    u.key = engine->utterance_key(u.text, "en", u.voice, 0);
  }
  const auto together = render(*engine, list);
  for (const Utterance& u : list) {
    EXPECT_EQ(render(*engine, {u}).at(u.id).samples, together.at(u.id).samples) << u.id;
  }
}

TEST_F(EngineVoices, TheSameTextInAnotherVoiceIsOtherAudioUnderAnotherName) {
  add_voice("other.pt", other_voice());
  const auto engine = Engine::load(options_);
  Utterance mine = some_utterances(1).front();
  Utterance theirs = mine;
  theirs.voice = "other";
  EXPECT_NE(engine->chunk_key(mine), engine->chunk_key(theirs));
  EXPECT_NE(engine->utterance_key(mine.text, "en", "default", 0), engine->utterance_key(mine.text, "en", "other", 0));
  EXPECT_NE(render(*engine, {mine}).at(0).samples, render(*engine, {theirs}).at(0).samples);
}

TEST_F(EngineVoices, AnUnknownOneIsAnErrorThatNamesTheKnownOnes) {
  add_voice("anna.pt", other_voice());
  add_voice("README", "not a voice");
  const auto engine = Engine::load(options_);
  EXPECT_CONTAINS(message_of([&] { (void)engine->voice_hash("berta"); }),
                  "voice \"berta\" does not exist (there are: anna, default)");
}

TEST_F(EngineVoices, AFileThatIsNoneOfThisModelIsAnErrorThatNamesItAndTheField) {
  add_voice("de fault.pt", other_voice());
  EXPECT_CONTAINS(load_error(options_), "voices/de fault.pt: a voice's name is");
  std::filesystem::remove_all(options_.checkpoint / "voices");
  add_voice("default.pt", other_voice());
  EXPECT_CONTAINS(load_error(options_), "voices/default.pt: the voice \"default\" is the checkpoint's conds.pt");
  std::filesystem::remove_all(options_.checkpoint / "voices");
  add_voice("other.pt", "not a zip archive");
  EXPECT_CONTAINS(load_error(options_), "voices/other.pt: not a PyTorch archive");
}

TEST_F(EngineVoices, ConditionalsThatDoNotSuitTheModelAreNamed) {
  using engine::chatterbox::Conditionals;
  const auto good = Conditionals::read(options_.checkpoint / "conds.pt");
  const auto error_of = [&](const std::function<void(Conditionals&)>& change) {
    Conditionals changed = good;
    change(changed);
    return message_of([&] { changed.check(tiny_config()); });
  };
  EXPECT_EQ(error_of([](Conditionals&) {}), "");
  EXPECT_CONTAINS(error_of([](Conditionals& c) { c.speaker_emb = at::zeros({192}); }),
                  "t3.speaker_emb has 192 numbers (expected 256)");
  EXPECT_CONTAINS(error_of([](Conditionals& c) { c.prompt_speech_tokens = at::zeros({151}, at::kLong); }),
                  "t3.cond_prompt_speech_tokens has 151 tokens (expected at most 150)");
  EXPECT_CONTAINS(error_of([](Conditionals& c) { c.prompt_speech_tokens = at::full({2}, 6561, at::kLong); }),
                  "t3.cond_prompt_speech_tokens holds speech token 6561, which is outside [0, 6561)");
  EXPECT_CONTAINS(error_of([](Conditionals& c) { c.prompt.prompt_token = at::full({2}, -1, at::kLong); }),
                  "gen.prompt_token holds speech token -1");
  EXPECT_CONTAINS(error_of([](Conditionals& c) { c.prompt.prompt_feat = c.prompt.prompt_feat.narrow(0, 1, 2); }),
                  "gen.prompt_feat has 2 frames (expected ");
  EXPECT_CONTAINS(error_of([](Conditionals& c) {
                    c.prompt.prompt_feat = at::zeros({4, 100});
                  }),
                  "gen.prompt_feat has 100 channels (expected 80)");
  EXPECT_CONTAINS(error_of([](Conditionals& c) { c.prompt.embedding = at::zeros({256}); }),
                  "gen.embedding has 256 numbers (expected 192)");
}

TEST_F(EngineVoices, ACheckpointMayDeclareThatItCannotClone) {
  EXPECT_TRUE(Engine::load(options_)->info().cloning);
  const std::string config = read_file(options_.checkpoint / "config.json");
  const std::size_t declared = config.find("\"cloning\": true");
  ASSERT_NE(declared, std::string::npos) << config;
  write_file(options_.checkpoint / "config.json", std::string(config).replace(declared, 15, "\"cloning\": false"));
  EXPECT_FALSE(Engine::load(options_)->info().cloning);
}

TEST(EngineLoad, EightBitsNeedAGpuInBf16) {
  EngineOptions options = tiny_options();
  options.kv_dtype = "fp8";
  if (test_device().is_cpu()) {
    EXPECT_NE(load_error(options).find("kv_dtype \"fp8\" needs a GPU"), std::string::npos) << load_error(options);
  } else {
    EXPECT_NE(Engine::load(options)->info().dtype.find("KV cache fp8"), std::string::npos);
    options.dtype = "fp32";
    EXPECT_NE(load_error(options).find("kv_dtype"), std::string::npos) << load_error(options);
  }
  options.kv_dtype = "int4";
  EXPECT_NE(load_error(options).find("\"int4\""), std::string::npos) << load_error(options);
}

TEST(EngineLoad, EightBitsInTheFlowNeedHopperInBf16AndThePublishedWidth) {
  EngineOptions options = tiny_options();
  options.cfm_fp8 = true;
  const std::string error = load_error(options); // the tiny flow is too narrow on any GPU
  EXPECT_TRUE(error.starts_with("cfm_fp8 needs a GPU")) << error;
  options.dtype = "fp32";
  EXPECT_NE(load_error(options).find("dtype that is not \"fp32\""), std::string::npos) << load_error(options);
}

TEST(EngineLoad, TheMemoryFractionIsAboveZeroAndAtMostOne) {
  EngineOptions options = tiny_options();
  for (const double fraction : {0.0, -0.5, 1.01}) {
    options.gpu_memory_fraction = fraction;
    EXPECT_THROW(Engine::load(options), std::invalid_argument) << fraction;
  }
  EXPECT_NE(load_error(options).find("gpu_memory_fraction"), std::string::npos) << load_error(options);
}

TEST(EngineLoad, ErrorsNameFileDeviceAndTensor) {
  EngineOptions options = tiny_options();
  options.device = "tpu";
  EXPECT_NE(load_error(options).find("\"tpu\""), std::string::npos) << load_error(options);
  options = tiny_options();
  const TempDir dir;
  options.checkpoint = dir.path() / "copy";
  std::filesystem::copy(tiny_checkpoint(), options.checkpoint);
  std::filesystem::remove(options.checkpoint / "conds.pt");
  EXPECT_NE(load_error(options).find("conds.pt"), std::string::npos) << load_error(options);
  std::ofstream(options.checkpoint / "conds.pt") << "not a zip archive";
  EXPECT_NE(load_error(options).find("conds.pt"), std::string::npos) << load_error(options);
  std::filesystem::copy(tiny_checkpoint() / "ve.safetensors", options.checkpoint / "t3_cfg.safetensors",
                        std::filesystem::copy_options::overwrite_existing);
  const std::string wrong_file = load_error(options);
  EXPECT_NE(wrong_file.find("t3_cfg.safetensors"), std::string::npos) << wrong_file;
  EXPECT_NE(wrong_file.find("speech_head.weight"), std::string::npos) << wrong_file;
  EXPECT_NE(wrong_file.find("lstm.weight_ih_l0"), std::string::npos) << wrong_file;
}

} // namespace
} // namespace audiobookd::tests
