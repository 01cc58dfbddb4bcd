// The interface of audio encoders. One thread at a time per encoder.
#pragma once

#include <span>

namespace audiobookd::storage {

/// Encodes a mono stream, sample by sample in order, into the sink it was made with.
class Encoder {
public:
  virtual ~Encoder() = default;
  /// Encodes samples, nominally in [-1, 1]. How the stream is cut into calls does not change the bytes.
  /// @throws PermanentError for a sample that is NaN or infinite, with its position; what the sink throws.
  virtual void write(std::span<const float> samples) = 0;
  /// Writes what is buffered and completes headers. Call once, last. @throws what the sink throws.
  virtual void finish() = 0;
};

} // namespace audiobookd::storage
