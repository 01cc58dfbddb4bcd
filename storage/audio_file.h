// One file of a codec: its tags and its audio, in one pass. Memory does not grow with the length, and the same sequence
// of calls gives the same bytes. One thread at a time per file; the work is done by a pool that all files share.
#pragma once

#include "storage/audio_format.h"
#include "storage/byte_sink.h"
#include "storage/levels.h"
#include "storage/mp3_meter.h"
#include "storage/tags.h"
#include "storage/worker_pool.h"

#include <memory>
#include <span>
#include <vector>

namespace audiobookd::storage {

class AudioFile {
public:
  virtual ~AudioFile() = default;
  /// Encodes samples at the source's rate, mono, nominally in [-1, 1]. How the stream is cut into calls does not change
  /// the bytes. @throws PermanentError for a sample that is NaN or infinite, with its position; what the sink throws.
  virtual void write(std::span<const float> samples) = 0;
  /// Encodes what is buffered and completes headers and tags. Call once, last.
  /// @throws PermanentError when the tags need over 4 KiB more room than the ones given first; what the sink throws.
  virtual void finish(const Tags& tags, const std::vector<Chapter>& chapters) = 0;
  /// Of what was encoded so far, after gain and limiter.
  [[nodiscard]] virtual const Levels& levels() const noexcept = 0;
  /// After finish(): what the file sounds like when it is decoded, if that was measured; else null.
  [[nodiscard]] virtual const DecodedAudio* decoded() const noexcept { return nullptr; }
  /// CPU time that the pool has spent on it so far.
  [[nodiscard]] virtual double cpu_seconds() const noexcept = 0;
};

/// Room in tags for a comment that is known only at the end, in bytes.
inline constexpr std::size_t spare_tag_bytes = 4096;

/// What every file is made with. Sink and pool must outlive it.
struct AudioFileParts {
  ByteSink& sink; ///< the file begins at its present end, which is usually empty
  WorkerPool& pool;
  LevelSettings levels;
  const Tags& tags; ///< as far as known: decides how much room there is for tags; so do the titles of the chapters
  const std::vector<Chapter>& chapters;
  bool measures_decoded = false; ///< of MP3: makes AudioFile::decoded()
};

/// @throws PermanentError for invalid settings; what the sink throws.
[[nodiscard]] std::unique_ptr<AudioFile> create_audio_file(const AudioFormat& format, const AudioFileParts& parts);

} // namespace audiobookd::storage
