// libmpg123, fed with frames. It could skip delay and padding itself, but only of a stream that begins with a complete
// Xing header, which is known last.
#include "storage/mp3_meter.h"

#include "storage/errors.h"

#include <algorithm>
#include <cstring>
#include <mpg123.h>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr std::size_t stretch_s = 10;          // whole hops of Levels, whole windows of 10 ms
constexpr std::size_t decoder_delay = 529;     // of layer III: the synthesis filter bank, and one
constexpr std::size_t longest_padding = 4'096; // 12 bits in a Xing header

void check(int code, const char* what) {
  if (code != MPG123_OK) {
    throw TransientError(std::string("mp3 meter: ") + what + ": " + mpg123_plain_strerror(code));
  }
}

} // namespace

struct Mp3Meter::Decoder {
  Decoder() {
    int code = MPG123_OK;
    handle = mpg123_new(nullptr, &code);
    check(code, "cannot make a decoder");
  }
  ~Decoder() { mpg123_delete(handle); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  void open(int sample_rate) const {
    check(mpg123_param(handle, MPG123_ADD_FLAGS, MPG123_QUIET | MPG123_IGNORE_INFOFRAME, 0), "cannot be set up");
    check(mpg123_param(handle, MPG123_REMOVE_FLAGS, MPG123_GAPLESS, 0), "cannot be set up");
    check(mpg123_format_none(handle), "cannot be set up");
    check(mpg123_format(handle, sample_rate, MPG123_MONO | MPG123_STEREO, MPG123_ENC_FLOAT_32), "cannot be set up");
    check(mpg123_open_feed(handle), "cannot be opened");
  }

  mpg123_handle* handle = nullptr;
};

Mp3Meter::Mp3Meter(int sample_rate) : sample_rate_(sample_rate), decoder_(std::make_unique<Decoder>()) {
  decoder_->open(sample_rate);
  decoded_.sample_rate = sample_rate;
}

Mp3Meter::~Mp3Meter() = default;

void Mp3Meter::add(std::span<const std::byte> frames, int encoder_delay) {
  if (!has_begun_) {
    to_skip_ = static_cast<std::size_t>(encoder_delay) + decoder_delay;
    has_begun_ = true;
  }
  frame_bytes_ += frames.size();
  check(mpg123_feed(decoder_->handle, reinterpret_cast<const unsigned char*>(frames.data()), frames.size()),
        "cannot take frames");
  while (decode_frame()) {
  }
}

/// @return whether there may be another one
bool Mp3Meter::decode_frame() {
  off_t index = 0;
  unsigned char* audio = nullptr;
  std::size_t num_bytes = 0;
  const int code = mpg123_decode_frame(decoder_->handle, &index, &audio, &num_bytes);
  if (code == MPG123_NEED_MORE) {
    return false;
  }
  if (code == MPG123_NEW_FORMAT) {
    return true;
  }
  check(code, "cannot decode a frame");
  mpg123_frameinfo frame{};
  check(mpg123_info(decoder_->handle, &frame), "does not know its frame");
  decoded_bytes_ += static_cast<std::size_t>(frame.framesize);
  decoded_.channels = frame.mode == MPG123_M_MONO ? 1 : 2;
  decoded_.lowest_kbps = decoded_.lowest_kbps == 0 ? frame.bitrate : std::min(decoded_.lowest_kbps, frame.bitrate);
  decoded_.highest_kbps = std::max(decoded_.highest_kbps, frame.bitrate);

  std::vector<float> heard(num_bytes / sizeof(float));
  std::memcpy(heard.data(), audio, heard.size() * sizeof(float));
  const std::size_t skipped = std::min(to_skip_, heard.size());
  to_skip_ -= skipped;
  samples_.insert(samples_.end(), heard.begin() + static_cast<std::ptrdiff_t>(skipped), heard.end());
  const std::size_t stretch = stretch_s * static_cast<std::size_t>(sample_rate_);
  if (samples_.size() >= stretch + longest_padding) {
    measure(stretch);
  }
  return true;
}

/// Measures the first @p count samples and drops them.
void Mp3Meter::measure(std::size_t count) {
  const auto part = std::span(samples_).first(count);
  decoded_.levels.add(Levels::of(part, 0, count, sample_rate_));
  const auto window = static_cast<std::size_t>(sample_rate_ / DecodedAudio::powers_per_second);
  for (std::size_t begin = 0; begin + window <= count; begin += window) {
    double sum = 0;
    for (const float sample : part.subspan(begin, window)) {
      sum += static_cast<double>(sample) * sample;
    }
    decoded_.powers.push_back(static_cast<float>(sum / static_cast<double>(window)));
  }
  num_samples_ += count;
  samples_.erase(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(count));
}

void Mp3Meter::finish(int encoder_padding) {
  if (decoded_bytes_ != frame_bytes_) {
    throw TransientError("mp3 meter: of " + std::to_string(frame_bytes_) + " bytes " + std::to_string(decoded_bytes_) +
                         " were decoded");
  }
  const auto padding = static_cast<std::size_t>(encoder_padding);
  const std::size_t surplus = std::min(padding - std::min(padding, decoder_delay), samples_.size());
  measure(samples_.size() - surplus);
  decoded_.seconds = static_cast<double>(num_samples_) / sample_rate_;
}

} // namespace audiobookd::storage
