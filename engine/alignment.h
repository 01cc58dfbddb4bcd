// Which stretch of the text an utterance's speech tokens belong to, as a few attention heads see it.
//
// Some heads of a decoder that reads text before it speaks attend to the text being spoken: "alignment heads" (Whisper
// takes word timings from such heads; Chatterbox's multilingual model watches heads (9, 2), (12, 15) and (13, 11)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace audiobookd::engine {

/// One head of the backbone, both counted from 0.
struct AttentionHead {
  int layer = 0;
  int head = 0;
};

/// What the alignment heads attended to while an utterance was decoded.
struct Alignment {
  std::size_t num_heads = 0;
  int text_length = 0; ///< positions of the text: a start token, the text's tokens, a stop token
  /// [speech tokens, heads]: the text position of largest attention weight in the step that drew the token; of equal
  /// ones the first. -1 for a first token: it is drawn by the prompt, not by a step.
  std::vector<std::int32_t> positions;
};

} // namespace audiobookd::engine
