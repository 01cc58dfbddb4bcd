// Renders the samples that gates are measured on.
#pragma once

#include <filesystem>
#include <vector>

namespace audiobookd::bench {

struct CollectOptions {
  std::filesystem::path checkpoint;         ///< empty: the embedded voice
  std::vector<std::filesystem::path> books; ///< that texts are taken from
  std::filesystem::path folder;             ///< that samples go to; those that are there stay
  int passages = 180;                       ///< as a book's utterances are, sound
  int sentences = 160;                      ///< alone, sound
  int faults = 120;                         ///< sentences with words skipped, and as many with words doubled
  int threads = 2;
};

/// Blocks for as long as rendering takes. @throws std::runtime_error.
void collect(const CollectOptions& options);

} // namespace audiobookd::bench
