// LAME behind the Encoder interface.
#include "storage/mp3_encoder.h"

#include "storage/errors.h"
#include "storage/xing_frame.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <lame/lame.h>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr std::array valid_bitrates = {8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160};
constexpr int lowest_bitrate_with_lame_tag = 64; // below, LAME's header does not fit into a frame
constexpr std::size_t block_samples = 8 * 1152;

void ignore_message(const char*, va_list) {}

void check_range(const char* field, int value, int low, int high) {
  if (value < low || value > high) {
    throw PermanentError(std::string("mp3 ") + field + " " + std::to_string(value) + " is not in " +
                         std::to_string(low) + " … " + std::to_string(high));
  }
}

} // namespace

void check(const Mp3Settings& settings) {
  if (settings.sample_rate != 24000) {
    throw PermanentError("mp3 sample_rate " + std::to_string(settings.sample_rate) + " is not supported; valid: 24000");
  }
  check_range("quality", settings.quality, 0, 9);
  if (settings.vbr_quality) {
    check_range("vbr_quality", *settings.vbr_quality, 0, 9);
    return;
  }
  if (std::find(valid_bitrates.begin(), valid_bitrates.end(), settings.bitrate_kbps) == valid_bitrates.end()) {
    std::string valid;
    for (const int bitrate : valid_bitrates) {
      valid += " " + std::to_string(bitrate);
    }
    throw PermanentError("mp3 bitrate_kbps " + std::to_string(settings.bitrate_kbps) +
                         " does not exist at 24000 Hz (MPEG-2 layer III); valid:" + valid);
  }
}

void Mp3Encoder::CloseLame::operator()(lame_global_struct* lame) const noexcept { lame_close(lame); }

Mp3Encoder::Mp3Encoder(const Mp3Settings& settings, ByteSink& sink) : sink_(sink), start_(sink.size()) {
  check(settings);
  lame_.reset(lame_init());
  if (!lame_) {
    throw TransientError("mp3 encoder: out of memory");
  }
  configure(settings);
  buffer_.resize(block_samples * 5 / 4 + 7200); // LAME's own bound on the output of one call
  if (!settings.vbr_quality && settings.bitrate_kbps < lowest_bitrate_with_lame_tag) {
    own_header_.emplace();
    own_header_->bitrate_kbps = settings.bitrate_kbps;
    sink_.append(render_xing_frame(*own_header_));
  }
}

Mp3Encoder::~Mp3Encoder() = default;

void Mp3Encoder::configure(const Mp3Settings& settings) {
  lame_set_errorf(lame_.get(), ignore_message);
  lame_set_debugf(lame_.get(), ignore_message);
  lame_set_msgf(lame_.get(), ignore_message);
  lame_set_num_channels(lame_.get(), 1);
  lame_set_mode(lame_.get(), MONO);
  lame_set_in_samplerate(lame_.get(), settings.sample_rate);
  lame_set_out_samplerate(lame_.get(), settings.sample_rate);
  lame_set_quality(lame_.get(), settings.quality);
  lame_set_write_id3tag_automatic(lame_.get(), 0);
  if (settings.vbr_quality) {
    lame_set_VBR(lame_.get(), vbr_mtrh);
    lame_set_VBR_q(lame_.get(), *settings.vbr_quality);
  } else {
    lame_set_VBR(lame_.get(), vbr_off);
    lame_set_brate(lame_.get(), settings.bitrate_kbps);
  }
  if (lame_init_params(lame_.get()) < 0) {
    throw PermanentError("mp3 encoder: LAME refuses the settings (bitrate_kbps " +
                         std::to_string(settings.bitrate_kbps) + ", quality " + std::to_string(settings.quality) + ")");
  }
}

void Mp3Encoder::write(std::span<const float> samples) {
  while (!samples.empty()) {
    const auto block = samples.first(std::min(samples.size(), block_samples));
    const auto bad = std::find_if_not(block.begin(), block.end(), [](float x) { return std::isfinite(x); });
    if (bad != block.end()) {
      throw PermanentError("mp3 encoder: sample " + std::to_string(samples_written_ + (bad - block.begin())) +
                           " is not finite");
    }
    append(lame_encode_buffer_ieee_float(lame_.get(), block.data(), block.data(), static_cast<int>(block.size()),
                                         buffer_.data(), static_cast<int>(buffer_.size())));
    samples_written_ += block.size();
    samples = samples.subspan(block.size());
  }
}

void Mp3Encoder::append(int num_bytes) {
  if (num_bytes < 0) {
    throw TransientError("mp3 encoder: LAME failed with code " + std::to_string(num_bytes));
  }
  const auto bytes = std::as_bytes(std::span(buffer_)).first(static_cast<std::size_t>(num_bytes));
  if (own_header_) {
    own_header_->audio_bytes += static_cast<std::uint32_t>(bytes.size());
    own_header_->audio_crc = crc16(own_header_->audio_crc, bytes);
  }
  sink_.append(bytes);
}

void Mp3Encoder::finish() {
  append(lame_encode_flush(lame_.get(), buffer_.data(), static_cast<int>(buffer_.size())));
  if (own_header_) {
    own_header_->num_frames = static_cast<std::uint32_t>(lame_get_frameNum(lame_.get()));
    own_header_->lowpass_hz = lame_get_lowpassfreq(lame_.get());
    own_header_->encoder_delay = lame_get_encoder_delay(lame_.get());
    own_header_->encoder_padding = lame_get_encoder_padding(lame_.get());
    sink_.overwrite(start_, render_xing_frame(*own_header_));
    return;
  }
  const std::size_t header_bytes = lame_get_lametag_frame(lame_.get(), buffer_.data(), buffer_.size());
  if (header_bytes == 0 || header_bytes > buffer_.size()) {
    throw PermanentError("mp3 encoder: LAME made no header frame for these settings");
  }
  sink_.overwrite(start_, std::as_bytes(std::span(buffer_)).first(header_bytes));
}

} // namespace audiobookd::storage
