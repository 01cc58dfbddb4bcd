// Voices as people handle them: added from clips and conds.pt, listed, shown, handed on, removed.
#include "daemon/ctl/voice_commands.h"
#include "engine/models/chatterbox/make_checkpoint.h"
#include "storage/wav_file.h"
#include "tests/daemon/fakes.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace audiobookd::daemon {
namespace {

using tests::throws_with;

class VoiceCommandsTest : public ::testing::Test {
protected:
  void SetUp() override {
    std::vector<float> clip = tests::voice_like(6 * 24'000);
    for (std::size_t i = 0; i < clip.size(); ++i) { // pauses, as between words
      clip[i] *= i % 12'000 < 9'000 ? 1.0F : 0.0F;
    }
    storage::write_wav(scratch_ / "clip.wav", 24'000, clip);
    engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, scratch_ / "tiny");
  }

  AddVoice request(const std::string& name, const std::string& clip) {
    return {.name = name,
            .clip = scratch_ / clip,
            .consent = "Anna, in writing",
            .exaggeration = 0.7F,
            .cloning = {.clip_decoder = AUDIOBOOKD_CLIP_DECODER, .checkpoint = scratch_ / "tiny", .cpu_threads = 1}};
  }
  void add(const AddVoice& wanted) { add_voice(folder_, wanted, {nullptr, out_, warnings_}); }
  template <class Error>
  ::testing::AssertionResult refuses(const AddVoice& wanted, const std::string& part) {
    return throws_with<Error>([&] { add(wanted); }, part);
  }

  tests::ScratchFolder scratch_;
  VoiceFolder folder_{scratch_ / "voices"};
  std::ostringstream out_, warnings_;
};

TEST_F(VoiceCommandsTest, AClipBecomesAVoiceThatIsListedAndShown) {
  EXPECT_TRUE(folder_.names().empty());
  add(request("anna", "clip.wav"));
  EXPECT_EQ(warnings_.str(), "");
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"anna"});
  std::ostringstream list, shown;
  list_voices(folder_, list);
  EXPECT_EQ(list.str().find("anna "), 0U) << list.str();
  EXPECT_NE(list.str().find(" 6.0 s  20"), std::string::npos) << list.str();
  EXPECT_NE(list.str().find("Anna, in writing\n"), std::string::npos) << list.str();
  show_voice(folder_, "anna", shown);
  const auto json = nlohmann::json::parse(shown.str());
  EXPECT_EQ(json.at("model"), "chatterbox-english, synthetic weights: noise");
  EXPECT_EQ(json.at("prompt_tokens"), 150);
  EXPECT_EQ(json.at("t3_prompt_tokens"), 150);
  EXPECT_FLOAT_EQ(json.at("exaggeration"), 0.7F);
  EXPECT_EQ(json.at("source_hash").get<std::string>().size(), 32U);
}

TEST_F(VoiceCommandsTest, AVoiceMovesThroughTheReferencesFile) {
  add(request("anna", "clip.wav"));
  export_conds(folder_, "anna", scratch_ / "conds.pt");
  EXPECT_TRUE(throws_with<std::runtime_error>([&] { export_conds(folder_, "anna", scratch_ / "conds.pt"); }, "exists"));
  AddVoice moved = request("moved", "conds.pt");
  moved.cloning.checkpoint.clear(); // nothing to prepare
  add(moved);
  EXPECT_EQ(folder_.read("moved").conditionals, folder_.read("anna").conditionals);
}

TEST_F(VoiceCommandsTest, AVoiceReadsASentence) {
  add(request("anna", "clip.wav"));
  std::vector<std::string> added;
  std::string heard;
  const auto load = [&] {
    auto renderer = std::make_unique<testing::FakeRenderer>();
    renderer->replace = [&, it = renderer.get()](const engine::Utterance& utterance) {
      added = it->added_voices();
      heard = utterance.voice + ": " + utterance.text;
      return std::optional<engine::Waveform>();
    };
    return renderer;
  };
  const PreviewVoice wanted{.name = "anna",
                            .text = "Just this.",
                            .output = scratch_ / "anna.mp3",
                            .voices = scratch_ / "voices",
                            .chunk_store = scratch_ / "chunks"};
  preview_voice(wanted, load, {out_, warnings_});
  ASSERT_EQ(added.size(), 1U);
  EXPECT_EQ(heard, added[0] + ": Just this.");
  EXPECT_GT(std::filesystem::file_size(wanted.output), 1000U);
  EXPECT_NE(out_.str().find("1 utterances: 1 rendered"), std::string::npos) << out_.str();
  EXPECT_TRUE(throws_with<std::runtime_error>([&] { preview_voice(wanted, load, {out_, warnings_}); }, "exists"));
}

TEST_F(VoiceCommandsTest, NoVoiceWithoutConsent) {
  AddVoice wanted = request("anna", "clip.wav");
  wanted.consent.clear();
  EXPECT_TRUE(refuses<std::invalid_argument>(wanted, "--consent"));
  std::istringstream silent("\n");
  EXPECT_THROW(add_voice(folder_, wanted, {&silent, out_, warnings_}), std::invalid_argument);
  EXPECT_TRUE(folder_.names().empty());
  std::istringstream answer("Anna, on the phone\n");
  add_voice(folder_, wanted, {&answer, out_, warnings_});
  EXPECT_EQ(folder_.read("anna").metadata.consent, "Anna, on the phone");
}

TEST_F(VoiceCommandsTest, AVoiceIsReplacedOnlyWhenTold) {
  add(request("anna", "clip.wav"));
  AddVoice again = request("anna", "clip.wav");
  again.exaggeration = 1;
  EXPECT_TRUE(refuses<std::runtime_error>(again, "already"));
  again.replace = true;
  add(again);
  EXPECT_EQ(folder_.read("anna").conditionals.exaggeration, 1);
  folder_.remove("anna");
  EXPECT_TRUE(folder_.names().empty());
  EXPECT_TRUE(throws_with<std::runtime_error>([&] { folder_.remove("anna"); }, "no voice \"anna\""));
  EXPECT_TRUE(throws_with<std::runtime_error>([&] { (void)folder_.read("anna"); }, "no voice \"anna\""));
}

TEST_F(VoiceCommandsTest, ClipsThatGiveNoVoiceSayWhyAndOthersWarn) {
  storage::write_wav(scratch_ / "short.wav", 24'000, tests::voice_like(12'000));
  storage::write_wav(scratch_ / "silent.wav", 24'000, std::vector<float>(24'000 * 6));
  EXPECT_TRUE(refuses<std::runtime_error>(request("a", "short.wav"), "gives no voice: the clip lasts 0.50 s"));
  EXPECT_TRUE(refuses<std::runtime_error>(request("a", "silent.wav"), "silent"));
  EXPECT_TRUE(folder_.names().empty());
  storage::write_wav(scratch_ / "brief.wav", 24'000, tests::voice_like(3 * 24'000));
  add(request("brief", "brief.wav"));
  EXPECT_NE(warnings_.str().find("warning: the clip lasts 3.0 s"), std::string::npos) << warnings_.str();
}

TEST_F(VoiceCommandsTest, OnlyNamesThatAJobCanCarryAreTaken) {
  for (const char* name : {"", "default", "../anna", ".anna", "an na", "Änna"}) {
    EXPECT_TRUE(refuses<std::invalid_argument>(request(name, "clip.wav"), name)) << name;
  }
  EXPECT_TRUE(refuses<std::invalid_argument>(request(std::string(129, 'a'), "clip.wav"), "cannot name a voice"));
  tests::write_file(scratch_ / "voices", ""); // no folder at all
  EXPECT_TRUE(folder_.names().empty());
}

TEST_F(VoiceCommandsTest, WhatIsNoVoiceInTheFolderIsNamed) {
  std::filesystem::create_directories(scratch_ / "voices");
  tests::write_file(scratch_ / "voices/readme.txt", "not looked at");
  EXPECT_TRUE(folder_.names().empty());
  tests::write_file(scratch_ / "voices/broken.safetensors", "broken");
  EXPECT_TRUE(throws_with<std::runtime_error>([&] { (void)folder_.read("broken"); }, "broken.safetensors"));
}

} // namespace
} // namespace audiobookd::daemon
