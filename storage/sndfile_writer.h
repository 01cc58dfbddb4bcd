// libsndfile as an encoder: samples in, the bytes of a file out, wherever they belong. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>

struct sf_private_tag; // libsndfile's SNDFILE

namespace audiobookd::storage {

class SndfileWriter {
public:
  /// Gets the bytes of the file: @p offset is its present end, or somewhere before when a header is rewritten.
  using Output = std::function<void(std::uint64_t offset, std::span<const std::byte> bytes)>;

  /// @param format libsndfile's. @param compression 0 … 1, see SFC_SET_COMPRESSION_LEVEL.
  /// @throws PermanentError with libsndfile's reason when it refuses; what @p output throws.
  SndfileWriter(int format, int sample_rate, double compression, Output output);
  ~SndfileWriter();
  SndfileWriter(const SndfileWriter&) = delete;
  SndfileWriter& operator=(const SndfileWriter&) = delete;

  /// Mono samples; those outside [-1, 1] are clipped. @throws TransientError when libsndfile fails; what output throws.
  void write(std::span<const float> samples);
  /// Completes the file. Call once, last. @throws as write()
  void finish();

private:
  struct File;

  void rethrow();

  const std::unique_ptr<File> file_;
  sf_private_tag* sound_ = nullptr;
};

} // namespace audiobookd::storage
