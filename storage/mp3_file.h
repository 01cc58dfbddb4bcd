// An MP3 with its tags before the audio.
#pragma once

#include "storage/audio_file.h"
#include "storage/mp3_encoder.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace audiobookd::storage {

class Mp3File final : public AudioFile {
public:
  /// @throws as create_audio_file()
  Mp3File(const Mp3Settings& settings, const AudioFileParts& parts);

  void write(std::span<const float> samples) override { encoder_.write(samples); }
  void finish(const Tags& tags, const std::vector<Chapter>& chapters) override;
  [[nodiscard]] const Levels& levels() const noexcept override { return encoder_.levels(); }
  [[nodiscard]] const DecodedAudio* decoded() const noexcept override { return meter_ ? &meter_->decoded() : nullptr; }
  [[nodiscard]] double cpu_seconds() const noexcept override {
    return encoder_.cpu_seconds() + (meter_ ? meter_->cpu_seconds() : 0);
  }

private:
  ByteSink& sink_;
  const int id3v2_version_;
  const std::size_t tag_bytes_;
  const std::uint64_t tag_offset_;
  std::optional<Mp3Meter> meter_;
  Mp3Encoder encoder_; // uses the meter
};

} // namespace audiobookd::storage
