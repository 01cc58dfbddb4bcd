// libsndfile behind a class, and the formats that are told apart before it sees them.
#include "storage/audio_reader.h"

#include "storage/errors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <sndfile.h>
#include <string_view>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

constexpr std::int64_t block_frames = 16'384;
constexpr int min_sample_rate = 4000;

/// A name for what libsndfile cannot read, empty otherwise, by the first bytes of the file.
std::string_view foreign_format(std::string_view head) {
  const auto has = [&](std::size_t offset, std::string_view magic) {
    return head.size() >= offset && head.substr(offset).starts_with(magic);
  };
  if (has(4, "ftyp")) {
    return "MPEG-4 (m4a, mp4)";
  }
  if (has(0, "\xff\xf1") || has(0, "\xff\xf9")) {
    return "AAC";
  }
  if (has(0, "\x1a\x45\xdf\xa3")) {
    return "Matroska (mka, webm)";
  }
  if (has(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11")) {
    return "Windows Media (wma)";
  }
  return {};
}

void refuse_foreign(int fd, const std::string& name) {
  std::array<char, 16> head{};
  const ssize_t got = ::pread(fd, head.data(), head.size(), 0);
  if (got < 0) {
    throw_errno(errno, "cannot read", name);
  }
  const std::string_view format = foreign_format({head.data(), static_cast<std::size_t>(got)});
  if (!format.empty()) {
    throw PermanentError("'" + name + "' is " + std::string(format) +
                         " audio, which is not read. Convert it: ffmpeg -i '" + name + "' -c:a flac clip.flac");
  }
}

bool is_read(int format) {
  constexpr std::array kinds{SF_FORMAT_WAV,  SF_FORMAT_WAVEX, SF_FORMAT_AIFF,
                             SF_FORMAT_FLAC, SF_FORMAT_OGG,   SF_FORMAT_MPEG};
  return std::ranges::find(kinds, format & SF_FORMAT_TYPEMASK) != kinds.end();
}

[[noreturn]] void refuse(const std::string& name, const std::string& found, const std::string& allowed) {
  throw PermanentError("'" + name + "' " + found + "; " + allowed);
}

std::string seconds_text(double seconds) {
  std::string text = std::to_string(seconds);
  return text.substr(0, text.find('.') + 2) + " s";
}

} // namespace

struct AudioReader::Sound {
  explicit Sound(int fd) : file(sf_open_fd(fd, SFM_READ, &info, SF_FALSE)) {}
  ~Sound() { sf_close(file); }
  Sound(const Sound&) = delete;
  Sound& operator=(const Sound&) = delete;

  SF_INFO info{};
  SNDFILE* file;
};

AudioReader::AudioReader(int fd, std::string name, const DecodeLimits& limits)
    : name_(std::move(name)), limits_(limits) {
  refuse_foreign(fd, name_);
  if (::lseek(fd, 0, SEEK_SET) < 0) {
    throw_errno(errno, "cannot read from the beginning of", name_);
  }
  sound_ = std::make_unique<Sound>(fd);
  const SF_INFO& info = sound_->info;
  if (sound_->file == nullptr) {
    throw PermanentError("'" + name_ + "' is no audio file that can be read: " + sf_strerror(nullptr));
  }
  if (!is_read(info.format)) {
    refuse(name_, "is audio of a kind that is not read", "WAV, AIFF, FLAC, Ogg, Opus and MP3 are");
  }
  if (info.channels < 1 || info.channels > limits_.max_channels) {
    refuse(name_, "has " + std::to_string(info.channels) + " channels",
           "at most " + std::to_string(limits_.max_channels) + " are allowed");
  }
  if (info.samplerate < min_sample_rate || info.samplerate > limits_.max_sample_rate) {
    refuse(name_, "has " + std::to_string(info.samplerate) + " samples a second",
           std::to_string(min_sample_rate) + " to " + std::to_string(limits_.max_sample_rate) + " are allowed");
  }
  const double stated_seconds = static_cast<double>(info.frames) / info.samplerate;
  if (info.frames != SF_COUNT_MAX && stated_seconds > limits_.max_seconds) {
    refuse(name_, "lasts " + seconds_text(stated_seconds),
           "at most " + seconds_text(limits_.max_seconds) + " are allowed");
  }
  block_.resize(static_cast<std::size_t>(block_frames * info.channels));
}

AudioReader::~AudioReader() = default;

int AudioReader::sample_rate() const noexcept { return sound_->info.samplerate; }
int AudioReader::channels() const noexcept { return sound_->info.channels; }

std::span<const float> AudioReader::read() {
  const sf_count_t frames = sf_readf_float(sound_->file, block_.data(), block_frames);
  if (frames <= 0) {
    return {};
  }
  frames_read_ += frames;
  if (static_cast<double>(frames_read_) / sample_rate() > limits_.max_seconds ||
      frames_read_ * channels() > limits_.max_samples) {
    refuse(name_, "is longer than allowed",
           "at most " + seconds_text(limits_.max_seconds) + " and " + std::to_string(limits_.max_samples) +
               " samples in all channels are read");
  }
  const auto samples = std::span(block_).first(static_cast<std::size_t>(frames * channels()));
  if (!std::ranges::all_of(samples, [](float sample) { return std::isfinite(sample); })) {
    throw PermanentError("'" + name_ + "' holds samples that are not numbers");
  }
  return samples;
}

} // namespace audiobookd::storage
