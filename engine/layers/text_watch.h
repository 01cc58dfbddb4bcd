// Watching which position of their text the sequences of a decode step attend to.
#pragma once

#include "engine/alignment.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::engine {

/// What a decode step is to watch, and what it saw. Without heads it costs nothing.
struct TextWatch {
  std::vector<AttentionHead> heads;
  int begin = 0;       // where the text begins in the cache, the same in all sequences
  at::Tensor lengths;  // [sequences] int32: positions of the text; 0: a sequence that is not watched
  at::Tensor attended; // [sequences, heads] int32, written by every step: position in the text, from 0
};

} // namespace audiobookd::engine
