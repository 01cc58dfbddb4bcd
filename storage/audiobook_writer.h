// One audiobook file in one pass: tags, encoded audio, chapter times. Memory does not grow with the length, and
// the same sequence of calls gives the same bytes. One thread at a time per writer.
#pragma once

#include "storage/audio_file.h"
#include "storage/byte_sink.h"
#include "storage/room_tone.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace audiobookd::storage {

struct AudiobookOptions {
  AudioFormat format;
  LevelSettings levels;
  Tags tags = {};                                 ///< as far as known: decides how much room the tag block gets
  std::vector<std::string> chapter_titles = {};   ///< of all chapters to come, in order; may be empty
  std::optional<RoomToneSettings> room_tone = {}; ///< under everything; its level is that in the file, after the gain
  bool measures_decoded = false;                  ///< of MP3: makes AudiobookSummary::decoded
};

struct AudiobookSummary {
  std::uint64_t samples = 0; ///< utterances and pauses
  double seconds = 0;
  std::uint64_t bytes = 0;             ///< of the file
  std::vector<Chapter> chapters;       ///< with their times
  Levels levels;                       ///< of what was encoded, after gain and limiter
  double encode_seconds = 0;           ///< CPU time of the pool
  std::optional<DecodedAudio> decoded; ///< what the file sounds like, if that was measured
};

class AudiobookWriter {
public:
  /// The file begins at the end of @p sink (which should be empty). @p pool encodes. Both must outlive the writer.
  /// @throws PermanentError for invalid settings of the format; what the sink throws.
  AudiobookWriter(ByteSink& sink, WorkerPool& pool, AudiobookOptions options);

  /// The next chapter of AudiobookOptions::chapter_titles starts here. @throws std::logic_error after the last one.
  void begin_chapter();
  /// Appends the samples of an utterance. @throws as AudioFile::write().
  void write(std::span<const float> samples);
  /// Appends round(@p seconds × source rate) samples of silence or room tone; returns how many. @throws
  /// std::invalid_argument unless
  /// @p seconds is in [0, 3600].
  std::uint64_t pause(double seconds);
  /// Completes the file: header, tag block with @p tags and the chapter times. Call once, last.
  /// @throws std::logic_error when chapters are missing; PermanentError when @p tags need over 4 KiB more room than the
  /// ones given first; what the sink throws.
  AudiobookSummary finish(const Tags& tags);

  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }

private:
  [[nodiscard]] std::vector<Chapter> chapters_with_times() const;

  ByteSink& sink_;
  const std::uint64_t start_; // in sink_
  const AudiobookOptions options_;
  const int source_rate_;
  const std::unique_ptr<AudioFile> file_;
  std::vector<std::uint64_t> chapter_starts_; // in samples
  std::uint64_t samples_ = 0;
  std::optional<RoomTone> room_tone_;
  std::vector<float> mixed_; // what write() was given, with the room tone
};

} // namespace audiobookd::storage
