// What fits into a GPU's memory, found by rendering the largest batches once. This also loads all kernels and leaves
// the blocks that they used reserved, so that later batches find them.
//
// Runs on the decode thread within its StageScope, before anything else uses the models.
#pragma once

#include "engine/memory_budget.h"
#include "engine/models/chatterbox/decoder.h"
#include "engine/models/chatterbox/s3gen.h"
#include "engine/models/chatterbox/t3.h"
#include "engine/models/chatterbox/voice.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace audiobookd::engine {

/// A loaded model on a GPU.
struct TrialSubject {
  const chatterbox::T3& t3;
  chatterbox::S3Gen& s3gen;
  chatterbox::Decoder& decoder; ///< its cache holds least_pages
  std::shared_ptr<const chatterbox::Voice> voice;
  std::size_t synthesis_batch = 1; ///< utterances in S3Gen together, if they fit
  int longest_tokens = 0;          ///< speech tokens of the longest utterance to plan for
  std::int64_t page_bytes = 0;     ///< of KV cache, over all layers
  int least_pages = 0;             ///< of KV cache, for the longest utterance
  int most_pages = 0;              ///< that the decoder can make use of
};

/// What was found.
struct TrialResult {
  std::int64_t synthesis_frames = 0; ///< of mel spectrograms in one pass
  int num_pages = 0;
  MemoryPlan plan;
  std::uint64_t out_of_memory = 0; ///< times that the KV cache turned out too large
};

/// Resizes the decoder's cache to what is left of @p fraction of the GPU's memory, and limits the process to that
/// fraction. The largest batch of S3Gen may take half of what the weights leave; it is halved until it fits.
/// @throws std::runtime_error naming the bytes needed and available when one utterance at a time does not fit.
TrialResult fit_to_memory(const TrialSubject& subject, double fraction);

} // namespace audiobookd::engine
