// What the chunk store keeps about an utterance besides its audio and tokens: which takes there were and what the gates
// found. JSON in the metadata of its entries. Pure; any thread.
//
// Under the chunk key lie, as before, the audio that is heard, or the tokens of the attempt that is under way. A take
// that gates found fault with lies under take_key(), whether or not it became the one that is heard. An entry of tokens
// without a token says which attempt comes next.
#pragma once

#include "daemon/gates.h"

#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// An attempt that gates found fault with.
struct Take {
  int attempt = 0;
  double badness = 0;
  std::vector<Finding> findings;
  bool operator==(const Take&) const = default;
};

/// Key of the audio of take @p attempt in the chunk store. @param chunk_key of the utterance.
[[nodiscard]] std::string take_key(const std::string& chunk_key, int attempt);

/// The best of @p takes, of equal ones the first. @p takes is not empty.
[[nodiscard]] const Take& best_of(const std::vector<Take>& takes);

/// With audio.
struct AudioNotes {
  int attempt = 0;
  bool hit_token_limit = false;
  std::vector<Finding> findings; ///< with this audio
  std::vector<Take> takes;       ///< all that gates found fault with, in their order
  bool unheard = false;          ///< the gate command failed to judge this audio
};

/// With tokens.
struct TokenNotes {
  int attempt = 0;
  std::optional<AlignmentSummary> alignment;
  std::vector<Take> takes; ///< before this attempt
};

[[nodiscard]] std::string to_metadata(const AudioNotes& notes);
[[nodiscard]] std::string to_metadata(const TokenNotes& notes);
/// Nothing when @p metadata is not what to_metadata() makes, now or in versions without gates.
[[nodiscard]] std::optional<AudioNotes> audio_notes(const std::string& metadata);
[[nodiscard]] std::optional<TokenNotes> token_notes(const std::string& metadata);

} // namespace audiobookd::daemon
