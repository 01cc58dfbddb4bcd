// Reading tokenizer.json: everything that would change the encoding is either supported or refused. Any thread.
#include "engine/mapped_file.h"
#include "engine/strict_json.h"
#include "engine/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>

namespace audiobookd::engine {
namespace {

using Json = nlohmann::json;

constexpr int max_depth = 8;
constexpr std::array top_fields{"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                "pre_tokenizer", "post_processor", "decoder", "model"};
constexpr std::array model_fields{"type",
                                  "dropout",
                                  "unk_token",
                                  "continuing_subword_prefix",
                                  "end_of_word_suffix",
                                  "fuse_unk",
                                  "byte_fallback",
                                  "ignore_merges",
                                  "vocab",
                                  "merges"};
constexpr std::array added_token_fields{"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"};

/// json::empty() asks whether there are elements, and a string always counts as one.
bool is_empty_string(const Json& value) {
  const auto* const text = value.get_ptr<const std::string*>();
  return text != nullptr && text->empty();
}

} // namespace

/// Fills one tokenizer from one file.
class TokenizerReader {
public:
  explicit TokenizerReader(const std::filesystem::path& path) : file_(path.string()) {
    const MappedFile mapping(path);
    root_ = parse_strict_json(mapping.text(), file_, max_depth);
  }

  BpeTokenizer read() {
    refuse_unsupported();
    read_vocab();
    read_unknown_token();
    read_merges();
    read_added_tokens();
    return std::move(tokenizer_);
  }

private:
  [[noreturn]] void fail(const std::string& field, const std::string& why) const {
    throw std::runtime_error(file_ + ": " + field + ": " + why);
  }

  const Json& model() const { return root_["model"]; }

  template <std::size_t count>
  void check_fields(const Json& object, const std::string& where, const std::array<const char*, count>& known) const {
    if (!object.is_object()) {
      fail(where, "expected an object");
    }
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(known, key) == known.end()) {
        fail(where, "unknown field \"" + key + "\"");
      }
    }
  }

  /// Absent, null, false and "" all say that a feature is not used.
  void require_unused(const Json& object, const std::string& where, const char* key) const {
    const auto found = object.find(key);
    if (found != object.end() && !found->is_null() && *found != false && !is_empty_string(*found)) {
      fail(where + key, "is not supported: expected null, found " + found->dump());
    }
  }

  void refuse_unsupported() const {
    check_fields(root_, "tokenizer", top_fields); // `decoder` is not used for encoding and may be anything
    for (const char* key : {"truncation", "padding", "normalizer", "post_processor"}) {
      require_unused(root_, "", key);
    }
    const Json whitespace = {{"type", "Whitespace"}};
    if (!root_.contains("pre_tokenizer") || root_["pre_tokenizer"] != whitespace) {
      fail("pre_tokenizer", "expected " + whitespace.dump() + ", found " + root_.value("pre_tokenizer", Json()).dump());
    }
    if (!root_.contains("model")) {
      fail("model", "the field is missing");
    }
    check_fields(model(), "model", model_fields);
    if (model().value("type", Json()) != "BPE") {
      fail("model.type", "expected \"BPE\", found " + model().value("type", Json()).dump());
    }
    for (const char* key :
         {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"}) {
      require_unused(model(), "model.", key);
    }
  }

  std::int32_t read_id(const Json& value, const std::string& where) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= std::numeric_limits<std::int32_t>::max()) {
      fail(where, "expected a token id, found " + value.dump());
    }
    const auto id = value.get<std::int32_t>();
    tokenizer_.vocab_size_ = std::max(tokenizer_.vocab_size_, id + 1);
    return id;
  }

  void read_vocab() {
    if (!model().contains("vocab") || !model()["vocab"].is_object()) {
      fail("model.vocab", "expected an object of tokens and ids");
    }
    for (const auto& [token, id] : model()["vocab"].items()) {
      tokenizer_.vocab_.emplace(token, read_id(id, "model.vocab[\"" + token + "\"]"));
    }
  }

  void read_unknown_token() {
    const Json name = model().value("unk_token", Json());
    const auto id = name.is_string() ? tokenizer_.token_id(name.get_ref<const std::string&>()) : std::nullopt;
    if (!id) {
      fail("model.unk_token", "expected an entry of model.vocab, found " + name.dump());
    }
    tokenizer_.unknown_id_ = *id;
    const Json fuse = model().value("fuse_unk", Json(false));
    if (!fuse.is_boolean()) {
      fail("model.fuse_unk", "expected true or false, found " + fuse.dump());
    }
    tokenizer_.fuse_unknown_ = fuse.get<bool>();
  }

  void read_merges() {
    if (!model().contains("merges") || !model()["merges"].is_array()) {
      fail("model.merges", "expected a list");
    }
    std::uint32_t rank = 0;
    for (const Json& merge : model()["merges"]) {
      const std::string where = "model.merges[" + std::to_string(rank) + "]";
      const auto [left, right] = merge_parts(merge, where);
      const std::uint64_t key = BpeTokenizer::pair_key(merge_token(left, where), merge_token(right, where));
      tokenizer_.merges_.insert_or_assign(key, BpeTokenizer::Merge{rank, merge_token(left + right, where)});
      ++rank;
    }
  }

  /// The two parts of "a b" or ["a", "b"].
  std::pair<std::string, std::string> merge_parts(const Json& merge, const std::string& where) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    }
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space != std::string::npos && space == text.rfind(' ')) {
        return {text.substr(0, space), text.substr(space + 1)};
      }
    }
    fail(where, "expected \"a b\" or [\"a\", \"b\"], found " + merge.dump());
  }

  std::int32_t merge_token(const std::string& token, const std::string& where) const {
    const auto found = tokenizer_.vocab_.find(token);
    if (found == tokenizer_.vocab_.end()) {
      fail(where, "\"" + token + "\" is not in model.vocab");
    }
    return found->second;
  }

  void read_added_tokens() {
    const Json tokens = root_.value("added_tokens", Json::array());
    if (!tokens.is_array()) {
      fail("added_tokens", "expected a list");
    }
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      read_added_token(tokens[i], "added_tokens[" + std::to_string(i) + "]");
    }
    std::ranges::stable_sort(tokenizer_.added_tokens_, std::ranges::greater(),
                             [](const BpeTokenizer::AddedToken& token) { return token.content.size(); });
  }

  void read_added_token(const Json& token, const std::string& where) {
    check_fields(token, where, added_token_fields);
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      require_unused(token, where + ".", key);
    }
    const Json content = token.value("content", Json());
    if (!content.is_string() || is_empty_string(content)) {
      fail(where + ".content", "expected a string that is not empty, found " + content.dump());
    }
    BpeTokenizer::AddedToken added{content.get<std::string>(), read_id(token.value("id", Json()), where + ".id")};
    const auto known = tokenizer_.token_id(added.content);
    if (known && *known != added.id) {
      fail(where + ".id", "expected " + std::to_string(*known) + ", the id of " + content.dump() + ", found " +
                              std::to_string(added.id));
    }
    // `normalized` makes no difference without a normalizer, `special` none for encoding.
    tokenizer_.added_tokens_.push_back(std::move(added));
  }

  const std::string file_;
  Json root_;
  BpeTokenizer tokenizer_;
};

BpeTokenizer BpeTokenizer::load(const std::filesystem::path& file) { return TokenizerReader(file).read(); }

} // namespace audiobookd::engine
