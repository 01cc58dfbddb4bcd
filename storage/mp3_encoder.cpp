// Where pieces are cut, and how they become one stream.
#include "storage/mp3_encoder.h"

#include "storage/errors.h"
#include "storage/mp3_format.h"
#include "storage/setting_checks.h"

#include <cmath>
#include <numeric>
#include <optional>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr double piece_s = 30;
/// After so long LAME has forgotten that it did not hear what came before: the frames that follow are, in all signals
/// tried at 24 kHz, byte for byte those of an encoder that did (after 1 s in nine of ten joints, after 1.5 s in almost
/// all).
constexpr double overlap_s = 1.92;
/// Samples behind a piece that the resampler wants to see.
constexpr std::size_t resampler_lookahead = 4800;

/// Frames after which the edge of a frame falls on the edge of a source sample.
std::size_t frames_of_unit(const Mp3Settings& settings, const Mp3Format& format) {
  const auto rate = static_cast<std::size_t>(settings.sample_rate);
  const std::size_t samples = format.frame_samples * static_cast<std::size_t>(settings.source_rate);
  return rate / std::gcd(rate, samples);
}

std::size_t frames_in(double seconds, const Mp3Settings& settings, const Mp3Format& format) {
  const std::size_t unit = frames_of_unit(settings, format);
  const double units = seconds * settings.sample_rate / static_cast<double>(format.frame_samples * unit);
  return unit * static_cast<std::size_t>(std::ceil(units));
}

/// Source samples that have to be known behind a piece.
std::size_t lookahead(const Mp3Settings& settings) {
  const std::size_t resampling = settings.sample_rate == settings.source_rate ? 0 : resampler_lookahead;
  return mp3_lookahead_frames * mp3_format(settings.sample_rate).frame_samples + levels_context(settings.source_rate) +
         resampling;
}

/// @param frames a multiple of frames_of_unit().
std::size_t to_source(std::size_t frames, const Mp3Settings& settings, const Mp3Format& format) {
  return frames * format.frame_samples * static_cast<std::size_t>(settings.source_rate) /
         static_cast<std::size_t>(settings.sample_rate);
}

PieceCut cut_of(const Mp3Settings& settings) {
  const Mp3Format& format = mp3_format(settings.sample_rate);
  return {.length = to_source(frames_in(piece_s, settings, format), settings, format),
          .before = to_source(frames_in(overlap_s, settings, format), settings, format),
          .after = lookahead(settings)};
}

PieceStream<Mp3Piece>::Work work_with(const Mp3Settings& settings, const LevelSettings& levels) {
  const Mp3Format& format = mp3_format(settings.sample_rate);
  const std::size_t overlap = frames_in(overlap_s, settings, format);
  const std::size_t length = frames_in(piece_s, settings, format);
  return [=](PieceSamples piece) {
    const Mp3Range range{.skip = piece.before == 0 ? 0 : overlap,
                         .count = piece.is_last ? std::nullopt : std::optional(length)};
    return encode_mp3_piece(settings, levels, piece.samples, range);
  };
}

} // namespace

void check(const Mp3Settings& settings) {
  const Mp3Format& format = mp3_format(settings.sample_rate);
  check_choice("mp3 source_rate", settings.source_rate, {24'000});
  check_range("mp3 quality", settings.quality, 0, 9);
  check_choice("mp3 id3v2_version", settings.id3v2_version, {3, 4});
  if (settings.vbr_quality) {
    check_range("mp3 vbr_quality", *settings.vbr_quality, 0, 9);
    return;
  }
  if (bitrate_index(format, settings.bitrate_kbps) == 0) {
    std::string valid;
    for (const int bitrate : format.bitrates_kbps) {
      valid += " " + std::to_string(bitrate);
    }
    throw PermanentError("mp3 bitrate_kbps " + std::to_string(settings.bitrate_kbps) + " does not exist at " +
                         std::to_string(settings.sample_rate) + " Hz; valid:" + valid);
  }
}

Mp3Encoder::Mp3Encoder(const Mp3Settings& settings, const LevelSettings& levels, ByteSink& sink, WorkerPool& pool,
                       Mp3Meter* meter)
    : sink_((check(settings), check(levels), sink)), meter_(meter), start_(sink.size()),
      stream_(cut_of(settings), pool, work_with(settings, levels), [this](const Mp3Piece& piece) { append(piece); }) {
  header_.sample_rate = settings.sample_rate;
  header_.bitrate_kbps = settings.vbr_quality ? 0 : settings.bitrate_kbps;
  header_.vbr_quality = settings.vbr_quality;
  header_.quality = settings.quality;
  sink_.append(render_xing_frame(header_, seek_table_));
}

void Mp3Encoder::append(const Mp3Piece& piece) {
  sink_.append(piece.bytes);
  if (meter_ != nullptr) {
    meter_->add(piece.bytes, piece.encoder_delay);
  }
  for (const std::uint16_t bytes : piece.frame_sizes) {
    seek_table_.add_frame(bytes);
  }
  header_.num_frames += static_cast<std::uint32_t>(piece.frame_sizes.size());
  header_.audio_bytes += static_cast<std::uint32_t>(piece.bytes.size());
  header_.audio_crc = crc16(header_.audio_crc, piece.bytes);
  header_.lowpass_hz = piece.lowpass_hz;
  header_.encoder_delay = piece.encoder_delay;
  header_.encoder_padding = piece.encoder_padding;
  cpu_seconds_ += piece.seconds;
  levels_.add(piece.levels);
}

void Mp3Encoder::finish() {
  stream_.finish();
  if (meter_ != nullptr) {
    meter_->finish(header_.encoder_padding);
  }
  sink_.overwrite(start_, render_xing_frame(header_, seek_table_));
}

} // namespace audiobookd::storage
