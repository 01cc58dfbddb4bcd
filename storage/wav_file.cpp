// libsndfile behind two functions.
#include "storage/wav_file.h"

#include "storage/audio_reader.h"
#include "storage/errors.h"
#include "storage/file_descriptor.h"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <sndfile.h>
#include <string>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

struct CloseSound {
  void operator()(SNDFILE* file) const noexcept { sf_close(file); }
};
using SoundFile = std::unique_ptr<SNDFILE, CloseSound>;

} // namespace

void write_wav(const std::filesystem::path& file, int sample_rate, std::span<const float> samples) {
  SF_INFO info{};
  info.samplerate = sample_rate;
  info.channels = 1;
  info.format = SF_FORMAT_WAV | SF_FORMAT_FLOAT;
  const SoundFile sound(sf_open(file.c_str(), SFM_WRITE, &info));
  if (!sound) {
    throw PermanentError("cannot write '" + file.string() + "': " + sf_strerror(nullptr));
  }
  sf_command(sound.get(), SFC_SET_ADD_PEAK_CHUNK, nullptr, SF_FALSE); // it holds the time of day
  if (sf_write_float(sound.get(), samples.data(), static_cast<sf_count_t>(samples.size())) !=
      static_cast<sf_count_t>(samples.size())) {
    throw TransientError("cannot write all of '" + file.string() + "': " + sf_strerror(sound.get()));
  }
}

AudioClip read_audio_file(const std::filesystem::path& file, double max_seconds) {
  const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    throw_errno(errno, "cannot open", file.string());
  }
  AudioReader reader(fd.get(), file.string(), {.max_seconds = max_seconds});
  AudioClip clip{reader.sample_rate(), reader.channels(), {}};
  for (std::span<const float> block = reader.read(); !block.empty(); block = reader.read()) {
    clip.samples.insert(clip.samples.end(), block.begin(), block.end());
  }
  return clip;
}

} // namespace audiobookd::storage
