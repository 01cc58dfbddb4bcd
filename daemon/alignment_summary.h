// How an utterance's text was read, by what the alignment heads attended to (engine/alignment.h). Pure; any thread.
//
// A head that follows the text now and then looks for a while at another place where the same letters stand. What was
// said tells the two apart: who reads a stretch twice has read it twice and left nothing out, who only looks elsewhere
// leaves a gap of the same length. So what was left out and what was read twice are weighed against each other.
#pragma once

#include "engine/alignment.h"

namespace audiobookd::daemon {

/// Text positions are the model's tokens: letters of the embedded voice, parts of words of others. A step is a speech
/// token.
struct AlignmentSummary {
  int text_length = 0; ///< positions, as Alignment::text_length
  int skipped = 0;     ///< positions of the longest stretch that was left out, less what was read twice
  int reread = 0;      ///< positions of the longest stretch that was read twice, less what was left out
  int unread = 0;      ///< positions at the end that were not reached
  int tail = 0;        ///< steps at the end of the text
  bool operator==(const AlignmentSummary&) const = default;
};

/// Of several heads the positions' median counts. Glances of up to two steps elsewhere are no reading.
[[nodiscard]] AlignmentSummary summarise(const engine::Alignment& alignment);

} // namespace audiobookd::daemon
