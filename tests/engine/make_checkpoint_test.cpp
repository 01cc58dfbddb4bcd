// A generated checkpoint is complete, marked as synthetic, never half there, and never written over somebody's files.
#include "engine/models/chatterbox/checkpoint_layout.h"
#include "engine/models/chatterbox/make_checkpoint.h"
#include "engine/models/chatterbox/synthetic_voice.h"
#include "engine/models/chatterbox/synthetic_weights.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <nlohmann/json.hpp>
#include <set>
#include <torch/csrc/jit/serialization/pickle.h>

namespace audiobookd::engine::chatterbox {
namespace {

namespace fs = std::filesystem;

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename());
  }
  return names;
}

class MakeCheckpoint : public testing::Test {
protected:
  std::string error_of(const fs::path& target) {
    return tests::message_of([&] { write_checkpoint(Preset::tiny, target); });
  }

  tests::TempDir dir_;
  fs::path target_ = dir_.path() / "a" / "tiny";
  fs::path published_ = tests::data_dir() / "checkpoints/tiny-english";
};

TEST_F(MakeCheckpoint, WritesTheFilesOfThePublishedModelAndNothingElse) {
  write_checkpoint(Preset::tiny, target_);
  EXPECT_EQ(names_in(target_), (std::set<std::string>{"config.json", "conds.pt", "s3gen.safetensors",
                                                      "t3_cfg.safetensors", "tokenizer.json", "ve.safetensors"}));
  EXPECT_EQ(names_in(target_.parent_path()), std::set<std::string>{"tiny"});
  EXPECT_EQ(tests::read_file(target_ / "tokenizer.json"), tests::read_file(published_ / "tokenizer.json"));
  EXPECT_EQ(tests::read_file(target_ / "conds.pt"), tests::read_file(published_ / "conds.pt"));
}

TEST_F(MakeCheckpoint, TheConfigurationIsTheRecordedOneMarkedAsSynthetic) {
  write_checkpoint(Preset::tiny, target_);
  auto expected = nlohmann::json::parse(tests::read_file(published_ / "config.json"));
  expected["synthetic"] = true;
  expected["cloning"] = true;
  EXPECT_EQ(nlohmann::json::parse(tests::read_file(target_ / "config.json")), expected);
  EXPECT_TRUE(Config::load(target_).synthetic);
  EXPECT_TRUE(preset_config(Preset::chatterbox).synthetic);
}

TEST_F(MakeCheckpoint, WeightFilesHoldEveryTensorOfTheLayoutWithTheValuesOfTheFormula) {
  write_checkpoint(Preset::tiny, target_);
  const SafetensorsFile file(target_ / s3gen_file_name);
  const auto layout = s3gen_layout(preset_config(Preset::tiny));
  ASSERT_EQ(file.tensors().size(), layout.size());
  for (const TensorSpec& tensor : layout) {
    const TensorView& view = file.at(tensor.name);
    ASSERT_EQ(view.shape, tensor.shape) << tensor.name;
    ASSERT_EQ(view.dtype, tensor.dtype) << tensor.name;
    if (tensor.dtype == Dtype::f32) {
      std::vector<float> values(view.data.size() / sizeof(float));
      fill_synthetic(tensor.name, tensor.shape, values);
      EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(values)), view.data)) << tensor.name;
    }
  }
  EXPECT_EQ(SafetensorsFile(target_ / t3_file_name).tensors().size(), 40U);
  EXPECT_EQ(SafetensorsFile(target_ / voice_encoder_file_name).tensors().size(), 16U);
}

TEST_F(MakeCheckpoint, ReplacesAnEmptyFolderAndACheckpointOfItsOwn) {
  fs::create_directories(target_);
  EXPECT_EQ(error_of(target_), "");
  tests::write_file(target_ / "t3_cfg.safetensors", "damaged");
  EXPECT_EQ(error_of(target_ / ""), "") << "a trailing slash makes no difference";
  EXPECT_EQ(SafetensorsFile(target_ / t3_file_name).tensors().size(), 40U);
  EXPECT_EQ(names_in(target_.parent_path()), std::set<std::string>{"tiny"});
}

TEST_F(MakeCheckpoint, RefusesWhatIsNotACheckpointOfItsOwnAndLeavesItAlone) {
  fs::create_directories(target_);
  tests::write_file(target_ / "diary.txt", "dear diary");
  EXPECT_CONTAINS(error_of(target_), target_.string() + ": exists and is not a synthetic checkpoint");
  EXPECT_EQ(names_in(target_), std::set<std::string>{"diary.txt"});
  EXPECT_EQ(names_in(target_.parent_path()), std::set<std::string>{"tiny"});

  fs::copy_file(published_ / "config.json", target_ / "config.json"); // real weights: no "synthetic": true
  EXPECT_CONTAINS(error_of(target_), "is not a synthetic checkpoint");
  EXPECT_CONTAINS(error_of(target_ / "diary.txt"), "diary.txt: exists");
}

TEST_F(MakeCheckpoint, AFailedRunLeavesNothing) {
  tests::write_file(dir_.path() / "file", "");
  EXPECT_NE(error_of(dir_.path() / "file" / "tiny"), "");
  EXPECT_EQ(names_in(dir_.path()), std::set<std::string>{"file"});
}

TEST_F(MakeCheckpoint, TheFullSizeVoiceHasTheLongestPromptsInTheReferenceStructure) {
  const c10::IValue root = torch::jit::pickle_load(make_synthetic_voice(Config()));
  const auto field = [&](const char* section, const char* name) {
    return root.toGenericDict().at(section).toGenericDict().at(name);
  };
  EXPECT_TRUE(field("t3", "clap_emb").isNone());
  EXPECT_TRUE(field("t3", "cond_prompt_speech_emb").isNone());
  EXPECT_TRUE(field("gen", "prompt_feat_len").isNone());
  const at::Tensor t3_tokens = field("t3", "cond_prompt_speech_tokens").toTensor();
  const at::Tensor gen_tokens = field("gen", "prompt_token").toTensor();
  EXPECT_EQ(t3_tokens.sizes().vec(), (std::vector<std::int64_t>{1, 150}));
  EXPECT_EQ(gen_tokens.sizes().vec(), (std::vector<std::int64_t>{1, 250}));
  EXPECT_GE(std::min(t3_tokens.min().item<std::int64_t>(), gen_tokens.min().item<std::int64_t>()), 0);
  EXPECT_LT(std::max(t3_tokens.max().item<std::int64_t>(), gen_tokens.max().item<std::int64_t>()), 6561);
  EXPECT_EQ(field("gen", "prompt_token_len").toTensor().item<std::int64_t>(), 250);
  EXPECT_EQ(field("gen", "prompt_feat").toTensor().sizes().vec(), (std::vector<std::int64_t>{1, 500, 80}));
  EXPECT_NEAR(field("gen", "prompt_feat").toTensor().mean().item<double>(), -5.0, 0.05);
  EXPECT_EQ(field("gen", "embedding").toTensor().sizes().vec(), (std::vector<std::int64_t>{1, 192}));
  EXPECT_EQ(field("t3", "speaker_emb").toTensor().sizes().vec(), (std::vector<std::int64_t>{1, 256}));
  EXPECT_NEAR(field("t3", "speaker_emb").toTensor().norm().item<double>(), 1.0, 1e-5);
  EXPECT_EQ(field("t3", "emotion_adv").toTensor().item<float>(), 0.5f);
}

TEST_F(MakeCheckpoint, TheFullSizeVoiceBeginsLikeTheRecordedTinyOne) {
  const auto gen_field = [](const std::vector<char>& conds, const char* name) {
    return torch::jit::pickle_load(conds).toGenericDict().at("gen").toGenericDict().at(name).toTensor();
  };
  const std::string recorded = tests::read_file(published_ / "conds.pt");
  const std::vector<char> tiny(recorded.begin(), recorded.end());
  const std::vector<char> full = make_synthetic_voice(Config());
  const at::Tensor frames = gen_field(tiny, "prompt_feat");
  EXPECT_TRUE(at::equal(gen_field(full, "prompt_feat").narrow(1, 0, frames.size(1)), frames));
  EXPECT_TRUE(at::equal(gen_field(full, "embedding"), gen_field(tiny, "embedding")));
}

TEST(Preset, NamesThePresetsThatExist) {
  EXPECT_EQ(parse_preset("tiny"), Preset::tiny);
  EXPECT_EQ(parse_preset("chatterbox"), Preset::chatterbox);
  EXPECT_CONTAINS(tests::message_of([] { (void)parse_preset("huge"); }),
                  "unknown preset \"huge\": expected tiny or chatterbox");
}

} // namespace
} // namespace audiobookd::engine::chatterbox
