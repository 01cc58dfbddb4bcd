// BPE as HuggingFace's tokenizers does it; what a tokenizer.json asks for beyond that is refused, not ignored.
#include "engine/tokenizer.h"
#include "tests/engine/temp_dir.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace audiobookd::engine {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<std::int32_t>;

class Tokenizer : public testing::Test {
protected:
  BpeTokenizer load(const Json& json) {
    tests::write_file(file_, json.dump());
    return BpeTokenizer::load(file_);
  }
  /// The message when @p value stands at @p pointer; it must name the file.
  std::string error_with(const std::string& pointer, const Json& value) {
    Json json = base_;
    json[Json::json_pointer(pointer)] = value;
    std::string message = tests::message_of([&] { (void)load(json); });
    EXPECT_CONTAINS(message, file_.string());
    return message;
  }

  static Json added(int id, const std::string& content) {
    return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", true}};
  }

  tests::TempDir dir_;
  std::filesystem::path file_ = dir_.path() / "tokenizer.json";
  Json base_ = {
      {"version", "1.0"},
      {"added_tokens", {added(0, "[U]"), added(20, "<x"), added(21, "<xy>")}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "Whitespace"}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "[U]"},
        {"fuse_unk", false},
        {"vocab",
         {{"[U]", 0}, {"a", 1}, {"b", 2}, {"c", 3}, {"ab", 4}, {"bc", 5}, {"abc", 6}, {"-", 7}, {"--", 8}, {"aa", 9}}},
        {"merges", {"b c", "a b", "a bc", "- -", "a a"}}}}};
};

TEST_F(Tokenizer, MergesByRankAndTheLeftmostFirst) {
  const auto tokenizer = load(base_);
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{6})); // b c goes before a b
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{4}));
  EXPECT_EQ(tokenizer.encode("aaa"), (Ids{9, 1}));
  EXPECT_EQ(tokenizer.encode("aaaa"), (Ids{9, 9}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
}

TEST_F(Tokenizer, WordsPunctuationAndSpacesAreNotMergedAcross) {
  const auto tokenizer = load(base_);
  EXPECT_EQ(tokenizer.encode("a b"), (Ids{1, 2}));
  EXPECT_EQ(tokenizer.encode("ab--ab\n\t- -"), (Ids{4, 8, 4, 7, 7}));
}

TEST_F(Tokenizer, MergesMayBePairs) {
  Json pairs = base_;
  pairs["model"]["merges"] = Json::array({{"b", "c"}, {"a", "b"}, {"a", "bc"}});
  EXPECT_EQ(load(pairs).encode("abc"), (Ids{6}));
}

TEST_F(Tokenizer, AddedTokensGoFirstLeftmostAndLongest) {
  const auto tokenizer = load(base_);
  EXPECT_EQ(tokenizer.encode("a<xy>b"), (Ids{1, 21, 2}));
  EXPECT_EQ(tokenizer.encode("<xb"), (Ids{20, 2}));
  EXPECT_EQ(tokenizer.encode("a[U]bc"), (Ids{1, 0, 5}));
  EXPECT_EQ(tokenizer.token_id("<xy>"), 21);
  EXPECT_EQ(tokenizer.token_id("bc"), 5);
  EXPECT_EQ(tokenizer.token_id("none"), std::nullopt);
  EXPECT_EQ(tokenizer.vocab_size(), 22);
}

TEST_F(Tokenizer, AnUnknownCharacterIsOneTokenUnlessFused) {
  EXPECT_EQ(load(base_).encode("a漢字b"), (Ids{1, 0, 0, 2}));
  EXPECT_EQ(load(base_).encode("a\xff"), (Ids{1, 0})) << "ill-formed UTF-8 is an unknown character";
  Json fused = base_;
  fused["model"]["fuse_unk"] = true;
  EXPECT_EQ(load(fused).encode("a漢字b漢"), (Ids{1, 0, 2, 0}));
}

TEST_F(Tokenizer, RefusesWhatItDoesNotSupportByField) {
  EXPECT_CONTAINS(error_with("/normalizer", {{"type", "NFC"}}), "normalizer: is not supported");
  EXPECT_CONTAINS(error_with("/post_processor", {{"type", "ByteLevel"}}), "post_processor: is not supported");
  EXPECT_CONTAINS(error_with("/truncation", {{"max_length", 5}}), "truncation: is not supported");
  EXPECT_CONTAINS(error_with("/padding", {{"length", 5}}), "padding: is not supported");
  EXPECT_CONTAINS(error_with("/pre_tokenizer", {{"type", "ByteLevel"}}), "pre_tokenizer: expected");
  EXPECT_CONTAINS(error_with("/pre_tokenizer", nullptr), "pre_tokenizer: expected");
  EXPECT_CONTAINS(error_with("/extra", 1), "unknown field \"extra\"");
  EXPECT_CONTAINS(error_with("/model/type", "WordPiece"), "model.type: expected \"BPE\", found \"WordPiece\"");
  EXPECT_CONTAINS(error_with("/model/dropout", 0.1), "model.dropout: is not supported");
  EXPECT_CONTAINS(error_with("/model/byte_fallback", true), "model.byte_fallback: is not supported");
  EXPECT_CONTAINS(error_with("/model/ignore_merges", true), "model.ignore_merges: is not supported");
  EXPECT_CONTAINS(error_with("/model/end_of_word_suffix", "</w>"), "model.end_of_word_suffix: is not supported");
  EXPECT_CONTAINS(error_with("/model/new_option", 1), "unknown field \"new_option\"");
  EXPECT_CONTAINS(error_with("/added_tokens/1/lstrip", true), "added_tokens[1].lstrip: is not supported");
  EXPECT_CONTAINS(error_with("/added_tokens/1/single_word", true), "added_tokens[1].single_word: is not supported");
}

TEST_F(Tokenizer, RefusesWhatContradictsItselfByField) {
  EXPECT_CONTAINS(error_with("/model/vocab/a", -1), "model.vocab[\"a\"]: expected a token id, found -1");
  EXPECT_CONTAINS(error_with("/model/vocab", Json::array()), "model.vocab: expected an object");
  EXPECT_CONTAINS(error_with("/model/unk_token", "[V]"),
                  "model.unk_token: expected an entry of model.vocab, found \"[V]\"");
  EXPECT_CONTAINS(error_with("/model/fuse_unk", 1), "model.fuse_unk");
  EXPECT_CONTAINS(error_with("/model/merges/1", "a d"), "model.merges[1]: \"d\" is not in model.vocab");
  EXPECT_CONTAINS(error_with("/model/merges/1", "c c"), "model.merges[1]: \"cc\" is not in model.vocab");
  EXPECT_CONTAINS(error_with("/model/merges/1", "a b c"), "model.merges[1]: expected");
  EXPECT_CONTAINS(error_with("/model/merges/1", "ab"), "model.merges[1]: expected");
  EXPECT_CONTAINS(error_with("/model/merges", 5), "model.merges: expected a list");
  EXPECT_CONTAINS(error_with("/added_tokens/0/id", 3), "added_tokens[0].id: expected 0");
  EXPECT_CONTAINS(error_with("/added_tokens/0/content", ""), "added_tokens[0].content");
  EXPECT_CONTAINS(error_with("/model", nullptr), "model: expected an object");
}

TEST_F(Tokenizer, RefusesAFileThatIsMissingOrNotJson) {
  EXPECT_CONTAINS(tests::message_of([&] { (void)BpeTokenizer::load(file_); }), file_.string() + ": cannot open");
  tests::write_file(file_, "{");
  EXPECT_CONTAINS(tests::message_of([&] { (void)BpeTokenizer::load(file_); }), file_.string() + ": not valid JSON");
  tests::write_file(file_, "[]");
  EXPECT_CONTAINS(tests::message_of([&] { (void)BpeTokenizer::load(file_); }), "expected an object");
}

} // namespace
} // namespace audiobookd::engine
