// Decoding audio files of people we do not know, block by block, through libsndfile. One thread at a time per reader.
//
// Files that crash a decoder exist: what takes files from outside uses decode_in_child() (isolated_decoder.h), whose
// child is the only program that reads them with this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace audiobookd::storage {

/// What a file may ask for.
struct DecodeLimits {
  double max_seconds = 300;
  int max_channels = 8;
  int max_sample_rate = 192'000;
  std::int64_t max_samples = std::int64_t{1} << 26; ///< all channels together: 256 MiB as floats
};

class AudioReader {
public:
  /// Opens a WAV, AIFF, FLAC, Ogg (Vorbis, Opus, FLAC) or MP3 file.
  /// @param fd a regular file, read from its beginning; stays open and stays the caller's. @param name for messages.
  /// @throws PermanentError naming the file and what is wrong: no audio, a format that is not read (with the ffmpeg
  /// command that converts it, for the common ones), too many channels, a sample rate out of range, a length that its
  /// header states and is too long.
  AudioReader(int fd, std::string name, const DecodeLimits& limits);
  ~AudioReader();
  AudioReader(const AudioReader&) = delete;
  AudioReader& operator=(const AudioReader&) = delete;

  [[nodiscard]] int sample_rate() const noexcept;
  [[nodiscard]] int channels() const noexcept;

  /// The next samples, channels interleaved, nominally in [-1, 1]; empty at the end. Valid until the next call.
  /// @throws PermanentError when more comes than the limits allow, whatever the header said, or a sample is NaN or
  /// infinite.
  [[nodiscard]] std::span<const float> read();

private:
  struct Sound;
  std::string name_;
  DecodeLimits limits_;
  std::unique_ptr<Sound> sound_;
  std::vector<float> block_;
  std::int64_t frames_read_ = 0;
};

} // namespace audiobookd::storage
