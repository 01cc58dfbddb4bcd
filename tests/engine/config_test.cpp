// config.json is read strictly: what is wrong is named with file and field.
#include "engine/models/chatterbox/config.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <nlohmann/json.hpp>

namespace audiobookd::engine::chatterbox {
namespace {

class ConfigFile : public testing::Test {
protected:
  std::string error_of(const std::string& text) {
    tests::write_file(dir_.path() / "config.json", text);
    return tests::message_of([&] { (void)Config::load(dir_.path()); });
  }
  /// The tiny checkpoint's configuration with one field replaced.
  std::string error_with(const std::string& key, const nlohmann::json& value) {
    nlohmann::json json = tiny_;
    json[key] = value;
    return error_of(json.dump());
  }

  tests::TempDir dir_;
  const nlohmann::json tiny_ =
      nlohmann::json::parse(tests::read_file(tests::data_dir() / "checkpoints/tiny-english/config.json"));
};

TEST_F(ConfigFile, AFolderWithoutOneHasThePublishedDimensions) {
  const Config config = Config::load(dir_.path());
  EXPECT_EQ(config.t3.hidden_size, 1024);
  EXPECT_EQ(config.flow.estimator_mid_stages, 12);
  EXPECT_FALSE(config.synthetic);
  EXPECT_TRUE(config.cloning);
}

TEST_F(ConfigFile, ReadsTheTinyCheckpointFieldByField) {
  const Config config = Config::load(tests::data_dir() / "checkpoints/tiny-english");
  nlohmann::json written = nlohmann::json::parse(config.to_json());
  EXPECT_EQ(written["synthetic"], false);
  EXPECT_EQ(written["cloning"], true);
  written.erase("synthetic");
  written.erase("cloning");
  EXPECT_EQ(written, tiny_);
}

TEST_F(ConfigFile, WhatItWritesReadsBackTheSame) {
  Config config;
  config.synthetic = true;
  config.cloning = false;
  EXPECT_EQ(error_of(config.to_json()), "");
  EXPECT_TRUE(Config::load(dir_.path()).synthetic);
  EXPECT_FALSE(Config::load(dir_.path()).cloning);
  EXPECT_EQ(Config::load(dir_.path()).to_json(), config.to_json());
}

TEST_F(ConfigFile, ANameOfItsOwnReplacesThatOfThePublishedModel) {
  EXPECT_EQ(Config().model_name(), "chatterbox-english");
  EXPECT_EQ(error_with("name", "my-voice_2.1"), "");
  EXPECT_EQ(Config::load(dir_.path()).model_name(), "my-voice_2.1");
  EXPECT_CONTAINS(error_with("name", "a voice"), "name: expected at most 64 letters");
  EXPECT_CONTAINS(error_with("name", std::string(65, 'a')), "name: expected at most 64 letters");
  EXPECT_CONTAINS(error_with("name", 7), "name: expected a string, found 7");
}

TEST_F(ConfigFile, AlignmentHeadsAreNamedByLayerAndHead) {
  EXPECT_TRUE(Config::load(tests::data_dir() / "checkpoints/tiny-english").t3.alignment_heads.empty());
  EXPECT_EQ(error_with("t3_alignment_heads", {{1, 0}, {0, 3}}), "");
  const Config config = Config::load(dir_.path());
  EXPECT_EQ(config.t3.alignment_heads, (std::vector<std::array<int, 2>>{{1, 0}, {0, 3}}));
  EXPECT_EQ(nlohmann::json::parse(config.to_json()).at("t3_alignment_heads").dump(), "[[1,0],[0,3]]");
  EXPECT_CONTAINS(error_with("t3_alignment_heads", {5, 2}), "t3_alignment_heads: expected pairs of layer and head");
  EXPECT_CONTAINS(error_with("t3_alignment_heads", nlohmann::json::array({nlohmann::json::array({99, 0})})),
                  "t3_alignment_heads: [99,0] does not exist: the model has");
}

TEST_F(ConfigFile, KeysThatBeginWithAnUnderscoreAreComments) { EXPECT_EQ(error_with("_note", "made by hand"), ""); }

TEST_F(ConfigFile, NamesFileAndFieldOfEveryMistake) {
  const std::string file = (dir_.path() / "config.json").string();
  EXPECT_CONTAINS(error_with("t3_layers", 2), file + ": t3_layers: unknown field");
  EXPECT_CONTAINS(error_with("t3_num_layers", "2"), file + ": t3_num_layers: expected an integer from 1");
  EXPECT_CONTAINS(error_with("t3_num_layers", 0), "t3_num_layers: expected an integer from 1 to 1048576, found 0");
  EXPECT_CONTAINS(error_with("t3_num_layers", -1), "found -1");
  EXPECT_CONTAINS(error_with("t3_num_layers", 2.5), "found 2.5");
  EXPECT_CONTAINS(error_with("t3_num_layers", 1e18), "t3_num_layers");
  EXPECT_CONTAINS(error_with("synthetic", 1), "synthetic: expected true or false");
  EXPECT_CONTAINS(error_with("cloning", "no"), "cloning: expected true or false, found \"no\"");
  EXPECT_CONTAINS(error_with("hift_upsample_rates", 8), "hift_upsample_rates: expected a list");
  EXPECT_CONTAINS(error_with("hift_upsample_rates", nlohmann::json::array()), "hift_upsample_rates: expected a list");
  EXPECT_CONTAINS(error_with("hift_upsample_rates", {8, 0, 3}), "hift_upsample_rates: expected an integer from 1");
  EXPECT_CONTAINS(error_with("variant", "turbo"), "variant: expected \"english\"");
  EXPECT_CONTAINS(error_with("t3_backbone", "gpt2"), "t3_backbone: expected \"llama\", found \"gpt2\"");
  EXPECT_CONTAINS(error_with("s3gen_meanflow", true), "s3gen_meanflow: expected false, found true");
  nlohmann::json incomplete = tiny_;
  incomplete.erase("hift_harmonics");
  EXPECT_CONTAINS(error_of(incomplete.dump()), "hift_harmonics: the field is missing");
}

TEST_F(ConfigFile, RefusesFieldsThatContradictEachOther) {
  EXPECT_CONTAINS(error_with("t3_hidden_size", 60),
                  "t3_hidden_size: expected t3_num_heads x t3_head_dim = 64, found 60");
  EXPECT_CONTAINS(error_with("t3_perceiver_heads", 5), "t3_perceiver_heads");
  EXPECT_CONTAINS(error_with("t3_text_pos_rows", 10), "t3_text_pos_rows");
  EXPECT_CONTAINS(error_with("t3_start_text_token", 704), "t3_start_text_token: is not below t3_text_vocab_size");
  EXPECT_CONTAINS(error_with("s3gen_encoder_heads", 7), "s3gen_encoder_heads");
  EXPECT_CONTAINS(error_with("s3gen_estimator_in_channels", 321), "s3gen_estimator_in_channels");
  EXPECT_CONTAINS(error_with("hift_upsample_kernels", {16, 11}), "hift_upsample_kernels");
  EXPECT_CONTAINS(error_with("hift_base_channels", 60), "hift_base_channels");
  EXPECT_CONTAINS(error_with("speech_tokenizer_heads", 3), "speech_tokenizer_heads");
  EXPECT_CONTAINS(error_with("xvector_blocks", {1}), "xvector_blocks");
}

TEST_F(ConfigFile, RefusesWhatIsNotJson) {
  EXPECT_CONTAINS(error_of("{\"variant\":"), (dir_.path() / "config.json").string() + ": not valid JSON");
  EXPECT_CONTAINS(error_of("[]"), "expected a JSON object");
  EXPECT_CONTAINS(error_of(R"({"variant":"english","variant":"english"})"), "\"variant\" occurs twice");
  EXPECT_CONTAINS(error_of(""), "not valid JSON");
}

} // namespace
} // namespace audiobookd::engine::chatterbox
