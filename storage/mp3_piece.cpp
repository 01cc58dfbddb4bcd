// LAME, one instance a piece.
#include "storage/mp3_piece.h"

#include "storage/cpu_clock.h"
#include "storage/errors.h"
#include "storage/mp3_format.h"
#include "storage/resampler.h"

#include <algorithm>
#include <lame/lame.h>
#include <memory>
#include <mutex>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr std::size_t block_samples = 9216;

struct CloseLame {
  void operator()(lame_global_flags* lame) const noexcept { lame_close(lame); }
};
using Lame = std::unique_ptr<lame_global_flags, CloseLame>;

void ignore_message(const char*, va_list) {}

Lame make_lame(const Mp3Settings& settings) {
  static std::mutex mutex; // LAME fills tables that all its instances share
  const std::lock_guard lock(mutex);
  Lame lame(lame_init());
  if (!lame) {
    throw TransientError("mp3 encoder: out of memory");
  }
  lame_set_errorf(lame.get(), ignore_message);
  lame_set_debugf(lame.get(), ignore_message);
  lame_set_msgf(lame.get(), ignore_message);
  lame_set_num_channels(lame.get(), 1);
  lame_set_mode(lame.get(), MONO);
  lame_set_in_samplerate(lame.get(), settings.sample_rate);
  lame_set_out_samplerate(lame.get(), settings.sample_rate);
  lame_set_quality(lame.get(), settings.quality);
  lame_set_write_id3tag_automatic(lame.get(), 0);
  lame_set_bWriteVbrTag(lame.get(), 0); // the header is the whole stream's
  lame_set_disable_reservoir(lame.get(), 1);
  if (settings.vbr_quality) {
    lame_set_VBR(lame.get(), vbr_mtrh);
    lame_set_VBR_q(lame.get(), *settings.vbr_quality);
  } else {
    lame_set_VBR(lame.get(), vbr_off);
    lame_set_brate(lame.get(), settings.bitrate_kbps);
  }
  if (lame_init_params(lame.get()) < 0) {
    throw PermanentError("mp3 encoder: LAME refuses the settings (bitrate_kbps " +
                         std::to_string(settings.bitrate_kbps) + ", quality " + std::to_string(settings.quality) + ")");
  }
  return lame;
}

/// What LAME makes of @p samples.
std::vector<unsigned char> encode(lame_global_flags* lame, std::span<const float> samples, bool ends) {
  std::vector<unsigned char> bytes;
  std::vector<unsigned char> buffer(block_samples * 5 / 4 + 7200); // LAME's own bound on the output of one call
  const auto keep = [&](int num_bytes) {
    if (num_bytes < 0) {
      throw TransientError("mp3 encoder: LAME failed with code " + std::to_string(num_bytes));
    }
    bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + num_bytes);
  };
  while (!samples.empty()) {
    const auto block = samples.first(std::min(samples.size(), block_samples));
    keep(lame_encode_buffer_ieee_float(lame, block.data(), block.data(), static_cast<int>(block.size()), buffer.data(),
                                       static_cast<int>(buffer.size())));
    samples = samples.subspan(block.size());
  }
  if (ends) {
    keep(lame_encode_flush(lame, buffer.data(), static_cast<int>(buffer.size())));
  }
  return bytes;
}

/// Cuts @p stream into frames and keeps those of @p range.
void keep_frames(const Mp3Format& format, std::span<const unsigned char> stream, const Mp3Range& range,
                 Mp3Piece& piece) {
  for (std::size_t i = 0; !stream.empty() && (!range.count || i < range.skip + *range.count); ++i) {
    const std::size_t size = frame_size(format, stream);
    if (size == 0 || size > stream.size()) {
      throw TransientError("mp3 encoder: LAME's frame " + std::to_string(i) + " is damaged");
    }
    if (i >= range.skip) {
      const auto bytes = std::as_bytes(stream.first(size));
      piece.bytes.insert(piece.bytes.end(), bytes.begin(), bytes.end());
      piece.frame_sizes.push_back(static_cast<std::uint16_t>(size));
    }
    stream = stream.subspan(size);
  }
  if (range.count && piece.frame_sizes.size() != *range.count) {
    throw TransientError("mp3 encoder: LAME gave " + std::to_string(piece.frame_sizes.size()) + " frames instead of " +
                         std::to_string(*range.count));
  }
}

} // namespace

Mp3Piece encode_mp3_piece(const Mp3Settings& settings, const LevelSettings& levels, std::span<float> samples,
                          const Mp3Range& range) {
  const double start = thread_cpu_seconds();
  adjust(samples, levels, settings.source_rate);
  const Lame lame = make_lame(settings);
  const std::vector<unsigned char> stream =
      settings.sample_rate == settings.source_rate
          ? encode(lame.get(), samples, !range.count)
          : encode(lame.get(), resample(samples, settings.source_rate, settings.sample_rate), !range.count);
  const Mp3Format& format = mp3_format(settings.sample_rate);
  Mp3Piece piece;
  keep_frames(format, stream, range, piece);
  piece.lowpass_hz = lame_get_lowpassfreq(lame.get());
  piece.encoder_delay = lame_get_encoder_delay(lame.get());
  piece.encoder_padding = lame_get_encoder_padding(lame.get());
  const auto to_source = [&](std::size_t frames) {
    return frames * format.frame_samples * static_cast<std::size_t>(settings.source_rate) /
           static_cast<std::size_t>(settings.sample_rate);
  };
  const std::size_t lead = to_source(range.skip);
  const std::size_t count = range.count ? to_source(*range.count) : samples.size() - lead;
  piece.levels = Levels::of(samples, lead, count, settings.source_rate);
  piece.seconds = thread_cpu_seconds() - start;
  return piece;
}

} // namespace audiobookd::storage
