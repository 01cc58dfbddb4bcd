// How a user wants words to be said: written words and phrases, each with what is said instead.
//
// Immutable after construction: any thread.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace audiobookd::jobs {

/// Written → spoken, in UTF-8. An empty spoken text leaves the word out.
using Words = std::map<std::string, std::string, std::less<>>;

inline constexpr std::size_t max_written_bytes = 200;
inline constexpr std::size_t max_spoken_bytes = 1000;
inline constexpr std::size_t max_dictionary_words = 20000; ///< of one dictionary

/// What is wrong with an entry, or nothing. @param spoken the words to be said, which must not span lines.
[[nodiscard]] std::optional<std::string> complaint_about(std::string_view written, std::string_view spoken);

/// A place in a text that the dictionary knows.
struct DictionaryMatch {
  std::size_t begin = 0; ///< in bytes
  std::size_t end = 0;
  std::string spoken;
};

/// An entry stands for whole words. Without a capital it stands for them in any case, and takes over a capital at their
/// beginning; with one, exactly as it is written. White space stands for any, ' for ’ as well.
class Dictionary {
public:
  Dictionary() = default;
  /// @param layers earlier ones are overridden by later ones. Entries must be without complaint.
  explicit Dictionary(const std::vector<Words>& layers);

  /// Where the entries stand in @p text, in order, without overlap. Of several at one place the longest counts, then
  /// the one of the later layer, then the one with capitals.
  [[nodiscard]] std::vector<DictionaryMatch> find(std::string_view text) const;

private:
  struct Entry {
    std::string written;
    std::string spoken;
    std::size_t layer = 0;
    bool any_case = false;
  };
  struct Node {
    std::unordered_map<char32_t, std::size_t> next; ///< index into nodes_, by folded character
    std::vector<Entry> entries;                     ///< that end here, best first
  };

  void add(std::string written, const std::string& spoken, std::size_t layer);
  [[nodiscard]] std::optional<DictionaryMatch> longest_at(std::string_view text, std::size_t begin) const;

  std::vector<Node> nodes_;
};

} // namespace audiobookd::jobs
