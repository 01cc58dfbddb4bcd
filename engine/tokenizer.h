// Byte-pair encoding as HuggingFace's tokenizers library does it, for the part of tokenizer.json that TTS models use.
//
// Supported: model BPE without prefixes, suffixes, dropout or byte fallback; pre-tokenizer Whitespace; added tokens
// that match anywhere. Immutable after loading; any number of threads may encode.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace audiobookd::engine {

class BpeTokenizer {
public:
  /// Reads a tokenizer.json; merges may be strings ("a b") or pairs (["a", "b"]).
  /// @throws std::runtime_error naming file and field: not JSON, a missing field, a wrong type, a merge or added token
  /// that contradicts the vocabulary, and everything in the file that would change the encoding but is not supported.
  static BpeTokenizer load(const std::filesystem::path& file);

  /// The ids of @p text (UTF-8; ill-formed parts count as U+FFFD). Added tokens are matched first, leftmost and
  /// longest; the rest is cut into words at `\w+|[^\w\s]+` and merged. A character that is not in the vocabulary
  /// becomes the unknown token. No start and stop tokens are added.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text) const;

  /// The id of a vocabulary entry or added token.
  [[nodiscard]] std::optional<std::int32_t> token_id(std::string_view token) const;

  /// One more than the largest id.
  [[nodiscard]] std::int32_t vocab_size() const noexcept { return vocab_size_; }

private:
  friend class TokenizerReader;
  struct Merge {
    std::uint32_t rank; // the lowest goes first
    std::int32_t id;
  };
  struct AddedToken {
    std::string content;
    std::int32_t id;
  };

  BpeTokenizer() = default;
  [[nodiscard]] const AddedToken* added_token_at(std::string_view text) const;
  void encode_plain(std::string_view text, std::vector<std::int32_t>& ids) const;
  [[nodiscard]] std::vector<std::int32_t> encode_word(std::u32string_view word) const;
  void apply_merges(std::vector<std::int32_t>& symbols) const;
  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) noexcept;

  std::map<std::string, std::int32_t, std::less<>> vocab_;
  std::unordered_map<std::uint64_t, Merge> merges_; // by pair_key()
  std::vector<AddedToken> added_tokens_;            // longest first
  std::int32_t unknown_id_ = 0;
  bool fuse_unknown_ = false; // neighbouring unknown characters become one token
  std::int32_t vocab_size_ = 0;
};

} // namespace audiobookd::engine
