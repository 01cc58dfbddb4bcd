// How much of a GPU's memory the engine may take, and how much of that is left for the KV cache. Pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace audiobookd::engine {

/// Bytes on a GPU at one moment.
struct DeviceMemory {
  std::int64_t total = 0;
  std::int64_t used = 0;      ///< by all programs
  std::int64_t reserved = 0;  ///< of these, by this process for tensors: those that live and blocks kept for later ones
  std::int64_t allocated = 0; ///< of these, by tensors that live
};

/// Bytes that this process may reserve for tensors so that the whole GPU's use stays below @p fraction of its memory.
/// What else is used (other programs, and this one's context and libraries) counts as used; never negative.
[[nodiscard]] std::int64_t tensor_budget(double fraction, const DeviceMemory& memory);

/// What the stages take beside weights and KV cache, at their largest.
struct WorkingMemory {
  std::int64_t decode = 0;    ///< prompts and the graphs of decode steps
  std::int64_t synthesis = 0; ///< one batch in S3Gen
};

/// What a GPU's memory is expected to hold, in bytes, when all stages are busy.
struct MemoryPlan {
  std::int64_t elsewhere = 0; ///< other programs, and this one's context and libraries
  std::int64_t weights = 0;
  WorkingMemory working{};
  std::int64_t cache = 0; ///< of keys and values
  [[nodiscard]] std::int64_t total() const noexcept {
    return elsewhere + weights + working.decode + working.synthesis + cache;
  }
};

/// Bytes kept free of KV cache: batches of other sizes than those tried cut the memory up in other ways.
[[nodiscard]] std::int64_t spare_bytes(const WorkingMemory& working);

/// Bytes that S3Gen may reserve: half of what @p budget leaves beside weights and decoding, but not so much that
/// @p least_cache bytes of KV cache do not fit beside it.
[[nodiscard]] std::int64_t synthesis_share(std::int64_t budget, std::int64_t weights, std::int64_t decode,
                                           std::int64_t least_cache);

/// Pages of KV cache, from @p least to @p most, that @p budget leaves beside the weights and all working memory.
[[nodiscard]] int pages_that_fit(std::int64_t budget, std::int64_t weights, const WorkingMemory& working,
                                 std::int64_t page_bytes, int least, int most);

/// What to say when @p budget is too small. @param needed bytes of tensors for one utterance at a time, or at least.
[[nodiscard]] std::string too_small(double fraction, const DeviceMemory& memory, std::int64_t needed,
                                    const std::string& what);

} // namespace audiobookd::engine
