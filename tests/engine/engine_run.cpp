#include "tests/engine/engine_run.h"

#include "engine/models/chatterbox/make_checkpoint.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

namespace audiobookd::tests {

using engine::Engine;
using engine::EngineOptions;
using engine::Utterance;
using engine::UtteranceId;

const std::filesystem::path& tiny_checkpoint() {
  static const TempDir dir;
  static const std::filesystem::path checkpoint = [] {
    const auto path = dir.path() / "tiny";
    engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, path);
    return path;
  }();
  return checkpoint;
}

EngineOptions tiny_options() {
  EngineOptions options;
  options.checkpoint = tiny_checkpoint();
  options.device = test_device().str();
  options.max_batch = 6;
  options.cpu_threads = 2;
  return options;
}

Utterance utterance(UtteranceId id, std::string text) {
  Utterance u;
  u.id = id;
  u.text = std::move(text);
  u.key = {id, 99};
  u.seed = 5;
  return u;
}

std::vector<Utterance> some_utterances(int count) {
  std::vector<Utterance> list;
  for (int i = 0; i < count; ++i) {
    Utterance u = utterance(static_cast<UtteranceId>(i), "The keeper counted " + std::to_string(i) + " ships.");
    u.forced_tokens = 4 + (i * 7) % 23;
    u.cfm_steps = 2;
    list.push_back(std::move(u));
  }
  return list;
}

std::map<UtteranceId, engine::Waveform> render(Engine& engine, std::vector<Utterance> utterances) {
  Recorder recorder(std::move(utterances));
  engine.run(recorder, recorder, recorder.stop.get_token());
  EXPECT_TRUE(recorder.failures.empty());
  return recorder.waveforms;
}

} // namespace audiobookd::tests
