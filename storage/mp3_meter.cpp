// libmpg123, fed with frames. It could skip delay and padding itself, but only of a stream that begins with a complete
// Xing header, which is known last.
#include "storage/mp3_meter.h"

#include "storage/cpu_clock.h"
#include "storage/errors.h"

#include <algorithm>
#include <cstring>
#include <mpg123.h>
#include <string>
#include <utility>

namespace audiobookd::storage {
namespace {

constexpr std::size_t stretch_s = 10;          // whole hops of Levels, whole windows of 10 ms
constexpr std::size_t most_outstanding = 4;    // stretches, each of which takes memory
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

Mp3Meter::Mp3Meter(int sample_rate, WorkerPool& pool)
    : sample_rate_(sample_rate), pool_(pool), decoder_(std::make_unique<Decoder>()) {
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
    submit(stretch);
  }
  return true;
}

Mp3Meter::Stretch Mp3Meter::measure(const std::vector<float>& samples, int sample_rate) {
  const double start = thread_cpu_seconds();
  Stretch stretch;
  stretch.levels = Levels::of(samples, 0, samples.size(), sample_rate);
  const auto window = static_cast<std::size_t>(sample_rate / DecodedAudio::powers_per_second);
  for (std::size_t begin = 0; begin + window <= samples.size(); begin += window) {
    double sum = 0;
    for (const float sample : std::span(samples).subspan(begin, window)) {
      sum += static_cast<double>(sample) * sample;
    }
    stretch.powers.push_back(static_cast<float>(sum / static_cast<double>(window)));
  }
  stretch.cpu_seconds = thread_cpu_seconds() - start;
  return stretch;
}

/// Has the first @p count samples measured and drops them.
void Mp3Meter::submit(std::size_t count) {
  const auto end = samples_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<float> part(samples_.begin(), end);
  samples_.erase(samples_.begin(), end);
  num_samples_ += count;
  outstanding_.push_back(pool_.submit([part = std::move(part), rate = sample_rate_] { return measure(part, rate); }));
  if (outstanding_.size() > most_outstanding) {
    take_oldest();
  }
}

void Mp3Meter::take_oldest() {
  const Stretch stretch = outstanding_.front().get();
  outstanding_.pop_front();
  decoded_.levels.add(stretch.levels);
  decoded_.powers.insert(decoded_.powers.end(), stretch.powers.begin(), stretch.powers.end());
  cpu_seconds_ += stretch.cpu_seconds;
}

void Mp3Meter::finish(int encoder_padding) {
  if (decoded_bytes_ != frame_bytes_) {
    throw TransientError("mp3 meter: of " + std::to_string(frame_bytes_) + " bytes " + std::to_string(decoded_bytes_) +
                         " were decoded");
  }
  const auto padding = static_cast<std::size_t>(encoder_padding);
  const std::size_t surplus = std::min(padding - std::min(padding, decoder_delay), samples_.size());
  submit(samples_.size() - surplus);
  while (!outstanding_.empty()) {
    take_oldest();
  }
  decoded_.seconds = static_cast<double>(num_samples_) / sample_rate_;
}

} // namespace audiobookd::storage
