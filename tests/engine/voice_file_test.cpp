// Voices move between our file, the reference's and back without losing a bit, and a damaged one says what is wrong.
#include "engine/models/chatterbox/voice.h"
#include "engine/safetensors.h"
#include "engine/voice_file.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <limits>

namespace audiobookd::tests {
namespace {

using engine::VoiceConditionals;
using engine::VoiceFile;

const std::filesystem::path& recorded_conds() {
  static const std::filesystem::path file = data_dir() / "checkpoints/tiny-english/conds.pt";
  return file;
}

VoiceFile some_voice() {
  return {{.name = "Anna \"the\" narrator",
           .source_hash = "0123456789abcdef",
           .model = "chatterbox-english",
           .created = "2026-01-31T12:00:00Z",
           .consent = "Anna, in writing"},
          engine::read_conds(recorded_conds())};
}

engine::chatterbox::Voice loaded(const VoiceConditionals& values) {
  return engine::chatterbox::Voice::from(engine::chatterbox::Conditionals::from(values), at::kCPU);
}

class VoiceFileTest : public ::testing::Test {
protected:
  std::filesystem::path file(const std::string& name) const { return dir_.path() / name; }
  /// What reading says of a copy of some_voice() with @p from replaced by @p to, of the same length.
  std::string error_of_changed(const std::string& from, const std::string& to) const {
    engine::write_voice_file(file("changed"), some_voice());
    std::string bytes = read_file(file("changed"));
    const std::size_t place = bytes.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    write_file(file("changed"), bytes.replace(place, to.size(), to));
    return message_of([&] { (void)engine::read_voice_file(file("changed")); });
  }

  TempDir dir_;
};

TEST_F(VoiceFileTest, ComesBackAsItWasWritten) {
  const VoiceFile voice = some_voice();
  engine::write_voice_file(file("a"), voice);
  const VoiceFile found = engine::read_voice_file(file("a"));
  EXPECT_EQ(found.metadata, voice.metadata);
  EXPECT_EQ(found.conditionals, voice.conditionals);
  engine::write_voice_file(file("b"), found);
  EXPECT_EQ(read_file(file("a")), read_file(file("b")));
  engine::write_voice_file(file("bare"), {{}, voice.conditionals});
  EXPECT_EQ(engine::read_voice_file(file("bare")).metadata, engine::VoiceMetadata());
}

TEST_F(VoiceFileTest, MovesToTheReferencesFileAndBack) {
  const VoiceConditionals voice = engine::read_conds(recorded_conds());
  engine::write_conds(file("conds.pt"), voice);
  EXPECT_EQ(engine::read_conds(file("conds.pt")), voice);
  EXPECT_EQ(loaded(engine::read_conds(file("conds.pt"))).content_hash, loaded(voice).content_hash);
}

TEST_F(VoiceFileTest, HasTheTensorsOfCondsPt) {
  engine::write_voice_file(file("a"), some_voice());
  const engine::SafetensorsFile opened(file("a"));
  EXPECT_EQ(opened.tensors().size(), 6U);
  EXPECT_EQ(opened.at("t3.speaker_emb").shape, (std::vector<std::int64_t>{1, 256}));
  EXPECT_EQ(opened.at("t3.emotion_adv").shape, (std::vector<std::int64_t>{1, 1, 1}));
  EXPECT_EQ(opened.at("gen.prompt_feat").shape.at(2), 80);
  EXPECT_EQ(opened.at("gen.prompt_token").dtype, engine::Dtype::i64);
  EXPECT_EQ(opened.metadata().at("consent"), "Anna, in writing");
}

/// The reference makes such voices of clips whose length is no multiple of 40 ms.
TEST_F(VoiceFileTest, AFrameMoreThanTwoATokenIsKeptInTheFileAndLeftOutInSpeech) {
  VoiceFile voice = some_voice();
  const engine::chatterbox::Voice even = loaded(voice.conditionals);
  voice.conditionals.prompt_mel.resize(voice.conditionals.prompt_mel.size() + 80, -3.0F);
  engine::write_conds(file("conds.pt"), voice.conditionals);
  const VoiceConditionals read = engine::read_conds(file("conds.pt"));
  EXPECT_EQ(read, voice.conditionals);
  const engine::chatterbox::Voice odd = loaded(read);
  EXPECT_EQ(odd.prompt.prompt_feat.size(0), 2 * odd.prompt.prompt_token.size(0));
  EXPECT_EQ(odd.content_hash, even.content_hash);
}

TEST_F(VoiceFileTest, RefusesToWriteWhatIsNoVoice) {
  const auto refusal = [&](const std::function<void(VoiceConditionals&)>& change) {
    VoiceFile voice = some_voice();
    change(voice.conditionals);
    const std::string message = message_of([&] { engine::write_voice_file(file("bad"), voice); });
    EXPECT_EQ(message_of([&] { engine::write_conds(file("bad"), voice.conditionals); }), message);
    EXPECT_FALSE(std::filesystem::exists(file("bad")));
    return message;
  };
  EXPECT_CONTAINS(refusal([](auto& c) { c.prompt_tokens.back() = 6561; }), "gen.prompt_token holds speech token 6561");
  EXPECT_CONTAINS(refusal([](auto& c) { c.t3_prompt_tokens[0] = -1; }), "speech token -1");
  EXPECT_CONTAINS(refusal([](auto& c) { c.t3_prompt_tokens.clear(); }), "t3.cond_prompt_speech_tokens is empty");
  EXPECT_CONTAINS(refusal([](auto& c) { c.prompt_tokens.pop_back(); }), "gen.prompt_feat has");
  EXPECT_CONTAINS(refusal([](auto& c) { c.prompt_mel.pop_back(); }), "gen.prompt_feat has");
  EXPECT_CONTAINS(refusal([](auto& c) { c.xvector[3] = std::numeric_limits<float>::infinity(); }),
                  "gen.embedding holds");
  EXPECT_CONTAINS(refusal([](auto& c) { c.exaggeration = std::numeric_limits<float>::quiet_NaN(); }), "t3.emotion_adv");
}

TEST_F(VoiceFileTest, SaysWhatIsWrongWithADamagedFile) {
  EXPECT_CONTAINS(error_of_changed("audiobookd_voice\":\"1", "audiobookd_voice\":\"2"), "a voice of version 2");
  EXPECT_CONTAINS(error_of_changed("audiobookd_voice", "audiobookd_noise"), "not a voice");
  EXPECT_CONTAINS(error_of_changed("gen.embedding", "gen.embeddinG"), "a voice has no tensor gen.embeddinG");
  EXPECT_CONTAINS(error_of_changed("[1,1,1]", "[1,  1]"), "t3.emotion_adv has a dtype or a shape");
  engine::write_safetensors(file("empty"), {}, {{"audiobookd_voice", "1"}});
  EXPECT_CONTAINS(message_of([&] { (void)engine::read_voice_file(file("empty")); }), "t3.speaker_emb is missing");
  EXPECT_CONTAINS(message_of([&] { (void)engine::read_voice_file(file("none")); }), "none");
}

} // namespace
} // namespace audiobookd::tests
