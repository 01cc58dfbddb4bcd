// The tag block is reserved first, and filled when the chapter times are known.
#include "storage/audiobook_writer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace audiobookd::storage {
namespace {

constexpr std::size_t spare_tag_bytes = 4096; // for a comment that is known only at the end
constexpr double max_pause_seconds = 3600;

std::vector<Chapter> untimed(const std::vector<std::string>& titles) {
  std::vector<Chapter> chapters;
  for (const std::string& title : titles) {
    chapters.push_back({title, 0, 0});
  }
  return chapters;
}

/// Appends @p bytes zeros and returns where they begin.
std::uint64_t reserve(ByteSink& sink, std::size_t bytes) {
  const std::uint64_t offset = sink.size();
  sink.append(std::vector<std::byte>(bytes));
  return offset;
}

} // namespace

AudiobookWriter::AudiobookWriter(ByteSink& sink, WorkerPool& pool, AudiobookOptions options)
    : sink_(sink), options_(std::move(options)),
      tag_bytes_(render_id3v2(options_.tags, untimed(options_.chapter_titles)).size() + spare_tag_bytes),
      tag_offset_(reserve(sink_, tag_bytes_)), encoder_(options_.mp3, options_.levels, sink_, pool) {}

void AudiobookWriter::begin_chapter() {
  if (chapter_starts_.size() == options_.chapter_titles.size()) {
    throw std::logic_error("begin_chapter: all " + std::to_string(chapter_starts_.size()) + " chapters have begun");
  }
  chapter_starts_.push_back(samples_);
}

void AudiobookWriter::write(std::span<const float> samples) {
  encoder_.write(samples);
  samples_ += samples.size();
}

std::uint64_t AudiobookWriter::pause(double seconds) {
  if (!(seconds >= 0 && seconds <= max_pause_seconds)) {
    throw std::invalid_argument("pause of " + std::to_string(seconds) + " s is not in [0, 3600]");
  }
  static constexpr float silence[4096] = {};
  const auto total = static_cast<std::uint64_t>(std::llround(seconds * options_.mp3.source_rate));
  for (std::uint64_t left = total; left > 0;) {
    const auto block = std::span(silence).first(std::min<std::uint64_t>(left, std::size(silence)));
    write(block);
    left -= block.size();
  }
  return total;
}

std::vector<Chapter> AudiobookWriter::chapters_with_times() const {
  const auto to_ms = [this](std::uint64_t samples) {
    const auto rate = static_cast<std::uint64_t>(options_.mp3.source_rate);
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
  encoder_.finish();
  AudiobookSummary summary;
  summary.chapters = chapters_with_times();
  sink_.overwrite(tag_offset_, render_id3v2(tags, summary.chapters, tag_bytes_));
  summary.samples = samples_;
  summary.seconds = static_cast<double>(samples_) / options_.mp3.source_rate;
  summary.bytes = sink_.size() - tag_offset_;
  summary.levels = encoder_.levels();
  summary.encode_seconds = encoder_.cpu_seconds();
  return summary;
}

} // namespace audiobookd::storage
