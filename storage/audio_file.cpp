#include "storage/audio_file.h"

#include "storage/flac_file.h"
#include "storage/mp3_file.h"
#include "storage/opus_file.h"

namespace audiobookd::storage {
namespace {

std::unique_ptr<AudioFile> create(const Mp3Settings& settings, const AudioFileParts& parts) {
  return std::make_unique<Mp3File>(settings, parts);
}
std::unique_ptr<AudioFile> create(const FlacSettings& settings, const AudioFileParts& parts) {
  return std::make_unique<FlacFile>(settings, parts);
}
std::unique_ptr<AudioFile> create(const OpusSettings& settings, const AudioFileParts& parts) {
  return std::make_unique<OpusFile>(settings, parts);
}

} // namespace

std::unique_ptr<AudioFile> create_audio_file(const AudioFormat& format, const AudioFileParts& parts) {
  check(format);
  check(parts.levels);
  return std::visit([&](const auto& settings) { return create(settings, parts); }, format);
}

} // namespace audiobookd::storage
