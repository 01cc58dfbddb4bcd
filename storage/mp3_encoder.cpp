// Cutting into pieces, and putting them together again.
#include "storage/mp3_encoder.h"

#include "storage/errors.h"
#include "storage/mp3_piece.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

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

void check_range(const char* field, int value, int low, int high) {
  if (value < low || value > high) {
    throw PermanentError(std::string("mp3 ") + field + " " + std::to_string(value) + " is not in " +
                         std::to_string(low) + " … " + std::to_string(high));
  }
}

bool is_ready(const std::future<Mp3Piece>& piece) {
  return piece.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

} // namespace

void check(const Mp3Settings& settings) {
  const Mp3Format& format = mp3_format(settings.sample_rate);
  if (settings.source_rate != 24'000) {
    throw PermanentError("mp3 source_rate " + std::to_string(settings.source_rate) + " is not supported; valid: 24000");
  }
  check_range("quality", settings.quality, 0, 9);
  if (settings.vbr_quality) {
    check_range("vbr_quality", *settings.vbr_quality, 0, 9);
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

Mp3Encoder::Mp3Encoder(const Mp3Settings& settings, const LevelSettings& levels, ByteSink& sink, WorkerPool& pool)
    : settings_((check(settings), settings)), format_(mp3_format(settings.sample_rate)),
      piece_frames_(frames_in(piece_s, settings, format_)), overlap_frames_(frames_in(overlap_s, settings, format_)),
      level_settings_((check(levels), levels)), sink_(sink), pool_(pool), start_(sink.size()) {
  header_.sample_rate = settings.sample_rate;
  header_.bitrate_kbps = settings.vbr_quality ? 0 : settings.bitrate_kbps;
  header_.vbr_quality = settings.vbr_quality;
  header_.quality = settings.quality;
  sink_.append(render_xing_frame(header_, seek_table_));
}

Mp3Encoder::~Mp3Encoder() = default;

std::size_t Mp3Encoder::frames_before() const noexcept { return is_first_piece_ ? 0 : overlap_frames_; }

/// @param frames a multiple of frames_of_unit().
std::size_t Mp3Encoder::to_source(std::size_t frames) const noexcept {
  return frames * format_.frame_samples * static_cast<std::size_t>(settings_.source_rate) /
         static_cast<std::size_t>(settings_.sample_rate);
}

void Mp3Encoder::write(std::span<const float> samples) {
  while (!samples.empty()) {
    const std::size_t full = to_source(frames_before() + piece_frames_) + lookahead(settings_);
    const auto part = samples.first(std::min(samples.size(), full - buffer_.size()));
    const auto bad = std::find_if_not(part.begin(), part.end(), [](float x) { return std::isfinite(x); });
    if (bad != part.end()) {
      throw PermanentError("mp3 encoder: sample " + std::to_string(samples_written_ + (bad - part.begin())) +
                           " is not finite");
    }
    buffer_.insert(buffer_.end(), part.begin(), part.end());
    samples_written_ += part.size();
    samples = samples.subspan(part.size());
    if (buffer_.size() == full) {
      submit_full_piece();
    }
  }
}

/// @param count of frames; nothing: the stream ends with these samples.
void Mp3Encoder::submit(std::vector<float> samples, std::optional<std::size_t> count) {
  const Mp3Range range{.skip = frames_before(), .count = count};
  outstanding_.push_back(
      pool_.submit([settings = settings_, levels = level_settings_, range, samples = std::move(samples)]() mutable {
        return encode_mp3_piece(settings, levels, samples, range);
      }));
}

void Mp3Encoder::submit_full_piece() {
  const std::size_t next_begin = to_source(frames_before() + piece_frames_ - overlap_frames_);
  std::vector<float> next;
  next.reserve(buffer_.size()); // about what it will hold: growing by doubling would take twice the memory
  next.assign(buffer_.begin() + static_cast<std::ptrdiff_t>(next_begin), buffer_.end());
  submit(std::exchange(buffer_, std::move(next)), piece_frames_);
  is_first_piece_ = false;
  while (!outstanding_.empty() && (outstanding_.size() > most_outstanding() || is_ready(outstanding_.front()))) {
    append_oldest();
  }
}

/// As long as the threads have enough of other files to do, more than one piece of this one would only take memory.
std::size_t Mp3Encoder::most_outstanding() const { return pool_.is_busy() ? 1 : pool_.num_threads(); }

void Mp3Encoder::append_oldest() {
  const Mp3Piece piece = outstanding_.front().get();
  outstanding_.pop_front();
  sink_.append(piece.bytes);
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
  submit(std::exchange(buffer_, {}), {});
  while (!outstanding_.empty()) {
    append_oldest();
  }
  sink_.overwrite(start_, render_xing_frame(header_, seek_table_));
}

} // namespace audiobookd::storage
