// Chapters and pauses on top of an audio file.
#include "storage/audiobook_writer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace audiobookd::storage {
namespace {

constexpr double max_pause_seconds = 3600;

std::vector<Chapter> untimed(const std::vector<std::string>& titles) {
  std::vector<Chapter> chapters;
  for (const std::string& title : titles) {
    chapters.push_back({title, 0, 0});
  }
  return chapters;
}

/// What becomes the level of @p options once their gain was applied.
std::optional<RoomTone> make_room_tone(const AudiobookOptions& options, int sample_rate) {
  if (!options.room_tone) {
    return std::nullopt;
  }
  check(*options.room_tone);
  RoomToneSettings before_gain = *options.room_tone;
  before_gain.level_dbfs -= options.levels.gain_db;
  return RoomTone(before_gain, sample_rate);
}

} // namespace

AudiobookWriter::AudiobookWriter(ByteSink& sink, WorkerPool& pool, AudiobookOptions options)
    : sink_(sink), start_(sink.size()), options_(std::move(options)), source_rate_(source_rate(options_.format)),
      file_(create_audio_file(options_.format, {sink, pool, options_.levels, options_.tags,
                                                untimed(options_.chapter_titles), options_.measures_decoded})),
      room_tone_(make_room_tone(options_, source_rate_)) {}

void AudiobookWriter::begin_chapter() {
  if (chapter_starts_.size() == options_.chapter_titles.size()) {
    throw std::logic_error("begin_chapter: all " + std::to_string(chapter_starts_.size()) + " chapters have begun");
  }
  chapter_starts_.push_back(samples_);
}

void AudiobookWriter::write(std::span<const float> samples) {
  if (room_tone_) {
    mixed_.assign(samples.begin(), samples.end());
    room_tone_->add_to(mixed_);
    samples = mixed_;
  }
  file_->write(samples);
  samples_ += samples.size();
}

std::uint64_t AudiobookWriter::pause(double seconds) {
  if (!(seconds >= 0 && seconds <= max_pause_seconds)) {
    throw std::invalid_argument("pause of " + std::to_string(seconds) + " s is not in [0, 3600]");
  }
  static constexpr float silence[4096] = {};
  const auto total = static_cast<std::uint64_t>(std::llround(seconds * source_rate_));
  for (std::uint64_t left = total; left > 0;) {
    const auto block = std::span(silence).first(std::min<std::uint64_t>(left, std::size(silence)));
    write(block);
    left -= block.size();
  }
  return total;
}

std::vector<Chapter> AudiobookWriter::chapters_with_times() const {
  const auto to_ms = [this](std::uint64_t samples) {
    const auto rate = static_cast<std::uint64_t>(source_rate_);
    return static_cast<std::uint32_t>((samples * 1000 + rate / 2) / rate);
  };
  std::vector<Chapter> chapters = untimed(options_.chapter_titles);
  for (std::size_t i = 0; i < chapters.size(); ++i) {
    chapters[i].start_ms = to_ms(chapter_starts_[i]);
    chapters[i].end_ms = to_ms(i + 1 < chapters.size() ? chapter_starts_[i + 1] : samples_);
  }
  return chapters;
}

AudiobookSummary AudiobookWriter::finish(const Tags& tags) {
  if (chapter_starts_.size() != options_.chapter_titles.size()) {
    throw std::logic_error("finish: only " + std::to_string(chapter_starts_.size()) + " of " +
                           std::to_string(options_.chapter_titles.size()) + " chapters have begun");
  }
  AudiobookSummary summary;
  summary.chapters = chapters_with_times();
  file_->finish(tags, summary.chapters);
  summary.samples = samples_;
  summary.seconds = static_cast<double>(samples_) / source_rate_;
  summary.bytes = sink_.size() - start_;
  summary.levels = file_->levels();
  summary.encode_seconds = file_->cpu_seconds();
  if (const DecodedAudio* decoded = file_->decoded()) {
    summary.decoded = *decoded;
  }
  return summary;
}

} // namespace audiobookd::storage
