// English text becomes exactly the normalised text and the token ids of the reference.
#include "engine/models/chatterbox/text_norm.h"
#include "tests/engine/golden.h"
#include "tests/engine/temp_dir.h"

#include <nlohmann/json.hpp>

namespace audiobookd::engine::chatterbox {
namespace {

class GoldenTextEnglish : public testing::Test {
protected:
  void SetUp() override {
    const auto file = tests::golden_dir() / "text.json";
    if (!std::filesystem::exists(file)) {
      GTEST_SKIP() << "golden case is absent: " << file.string();
    }
    cases_ = nlohmann::json::parse(tests::read_file(file)).at("english");
    ASSERT_FALSE(cases_.empty());
  }

  nlohmann::json cases_;
};

TEST_F(GoldenTextEnglish, PunctuationIsNormalisedAsByTheReference) {
  for (const auto& text : cases_) {
    EXPECT_EQ(punc_norm(text.at("input").get<std::string>()), text.at("normalized").get<std::string>())
        << text.at("input");
  }
}

TEST_F(GoldenTextEnglish, IdsAreThoseOfTheReference) {
  const auto checkpoint = tests::data_dir() / "checkpoints/tiny-english";
  const BpeTokenizer tokenizer = load_english_tokenizer(checkpoint, Config::load(checkpoint).t3);
  for (const auto& text : cases_) {
    EXPECT_EQ(encode_english(tokenizer, text.at("normalized").get<std::string>()),
              text.at("ids").get<std::vector<std::int32_t>>())
        << text.at("normalized");
  }
}

TEST(PuncNorm, HandlesTheEdgesAsTheReferenceDoes) {
  EXPECT_EQ(punc_norm(""), "You need to add some text for me to talk.");
  EXPECT_EQ(punc_norm(" "), ".");
  EXPECT_EQ(punc_norm(" a"), "a.") << "only the very first character is made a capital";
  EXPECT_EQ(punc_norm("ßa"), "SSa.");
  EXPECT_EQ(punc_norm("a\u00a0\u2003b\x1c"
                      "c"),
            "A b c.");
  EXPECT_EQ(punc_norm("Why?"), "Why?");
  EXPECT_EQ(punc_norm("Well: -"), "Well, -");
  EXPECT_EQ(punc_norm("a....b"), "A, .b.");
  EXPECT_EQ(punc_norm("end;"), "End,");
  EXPECT_EQ(punc_norm("bad\xff"), "Bad\xef\xbf\xbd.");
}

class EnglishTokenizer : public testing::Test {
protected:
  std::string error_of(const nlohmann::json& tokenizer, const T3Config& config = {}) {
    tests::write_file(dir_.path() / "tokenizer.json", tokenizer.dump());
    return tests::message_of([&] { (void)load_english_tokenizer(dir_.path(), config); });
  }

  tests::TempDir dir_;
  nlohmann::json published_ =
      nlohmann::json::parse(tests::read_file(tests::data_dir() / "checkpoints/tiny-english/tokenizer.json"));
};

TEST_F(EnglishTokenizer, AVocabularyThatDoesNotFitTheModelIsRefusedByFile) {
  const std::string file = (dir_.path() / "tokenizer.json").string();
  EXPECT_EQ(error_of(published_), "");
  T3Config small;
  small.text_vocab_size = 700;
  EXPECT_EQ(error_of(published_, small), file + ": expected at most 700 ids (t3_text_vocab_size), found 704");
  T3Config other_start;
  other_start.start_text_token = 254;
  EXPECT_EQ(error_of(published_, other_start), file + ": [START]: expected the id 254, found 255");
  T3Config other_stop;
  other_stop.stop_text_token = 3;
  EXPECT_EQ(error_of(published_, other_stop), file + ": [STOP]: expected the id 3, found 0");
  std::erase_if(published_["added_tokens"].get_ref<nlohmann::json::array_t&>(),
                [](const nlohmann::json& token) { return token["content"] == "[SPACE]"; });
  published_["model"]["vocab"].erase("[SPACE]");
  EXPECT_EQ(error_of(published_), file + ": has no token [SPACE]");
}

} // namespace
} // namespace audiobookd::engine::chatterbox
