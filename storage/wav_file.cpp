// libsndfile behind two functions.
#include "storage/wav_file.h"

#include "storage/errors.h"

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

constexpr int max_channels = 8;

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
  if (::access(file.c_str(), R_OK) != 0) {
    throw_errno(errno, "cannot open", file.string());
  }
  SF_INFO info{};
  const SoundFile sound(sf_open(file.c_str(), SFM_READ, &info));
  if (!sound) {
    throw PermanentError("'" + file.string() + "' is no audio file that can be read: " + sf_strerror(nullptr));
  }
  if (info.channels > max_channels) {
    throw PermanentError("'" + file.string() + "' has " + std::to_string(info.channels) + " channels, at most " +
                         std::to_string(max_channels) + " are allowed");
  }
  const double seconds = static_cast<double>(info.frames) / info.samplerate;
  if (seconds > max_seconds) {
    throw PermanentError("'" + file.string() + "' lasts " + std::to_string(seconds) + " s, at most " +
                         std::to_string(max_seconds) + " are allowed");
  }
  AudioClip clip{info.samplerate, info.channels, {}};
  clip.samples.resize(static_cast<std::size_t>(info.frames) * static_cast<std::size_t>(info.channels));
  const sf_count_t frames = sf_readf_float(sound.get(), clip.samples.data(), info.frames);
  clip.samples.resize(static_cast<std::size_t>(frames) * static_cast<std::size_t>(info.channels));
  return clip;
}

} // namespace audiobookd::storage
