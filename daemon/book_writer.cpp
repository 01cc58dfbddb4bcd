// See book_writer.h.
#include "daemon/book_writer.h"

#include "jobs/output_name.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t extension_bytes = 5; // the longest
constexpr std::size_t fewest_digits = 2;

std::string or_else(const std::string& text, const std::string& fallback) { return text.empty() ? fallback : text; }

} // namespace

std::string chapter_file_stem(std::size_t index, std::size_t count, const std::string& title) {
  const std::size_t width = std::max(std::to_string(count).size(), fewest_digits);
  const std::string number = fmt::format("{:0{}}", index + 1, width);
  const std::string separator = " - ";
  const std::string name =
      jobs::safe_name(title, jobs::max_output_name_bytes - extension_bytes - number.size() - separator.size());
  return name.empty() ? number : number + separator + name;
}

BookWriter::BookWriter(BookOutput& output, storage::WorkerPool& pool, BookWriting writing)
    : output_(output), pool_(pool), writing_(std::move(writing)) {
  if (!writing_.shape.split_chapters) {
    begin_audio();
  }
}

std::string BookWriter::stem_of_file() const {
  if (writing_.shape.split_chapters) {
    const std::size_t index = chapters_begun_ - 1;
    return chapter_file_stem(index, writing_.chapter_titles.size(), writing_.chapter_titles[index]);
  }
  return or_else(jobs::safe_name(writing_.tags.title, jobs::max_output_name_bytes - extension_bytes), "book");
}

std::string BookWriter::audio_name() const {
  return stem_of_file() + "." + std::string(storage::extension(writing_.format));
}

storage::AudiobookOptions BookWriter::options_of_file() const {
  storage::AudiobookOptions options{writing_.format, writing_.levels, writing_.tags, writing_.chapter_titles};
  if (writing_.shape.split_chapters) {
    options.tags.title = writing_.chapter_titles[chapters_begun_ - 1];
    options.tags.album_artist = writing_.tags.author;
    options.tags.track = fmt::format("{}/{}", chapters_begun_, writing_.chapter_titles.size());
    options.chapter_titles.clear();
  }
  return options;
}

void BookWriter::begin_audio() {
  storage::AudiobookOptions options = options_of_file();
  tags_ = options.tags;
  file_start_ = samples_;
  cues_.clear();
  audio_.emplace(output_.begin_file(audio_name()), pool_, std::move(options));
}

void BookWriter::end_audio() {
  const std::string stem = stem_of_file();
  const storage::AudiobookSummary summary = audio_->finish(tags_);
  audio_.reset();
  written_.levels.add(summary.levels);
  written_.encode_seconds += summary.encode_seconds;
  written_.files.push_back({audio_name(), summary.seconds, summary.bytes});
  if (writing_.shape.split_chapters) {
    const auto ms = [&](std::uint64_t samples) {
      return static_cast<std::uint32_t>(std::llround(1000 * seconds(samples)));
    };
    written_.chapters.push_back({tags_.title, ms(file_start_), ms(samples_)});
  } else {
    written_.chapters = summary.chapters;
  }
  if (writing_.shape.subtitles) {
    write_file(stem + ".vtt", to_webvtt(cues_));
  }
}

void BookWriter::write_file(const std::string& name, std::string_view content) {
  output_.begin_file(name).append(std::as_bytes(std::span(content)));
  written_.files.push_back({name, 0, content.size()});
}

void BookWriter::begin_chapter() {
  if (!writing_.shape.split_chapters) {
    audio_->begin_chapter();
    return;
  }
  if (audio_) {
    end_audio();
  }
  if (chapters_begun_ == writing_.chapter_titles.size()) {
    throw std::logic_error("begin_chapter: all " + std::to_string(chapters_begun_) + " chapters have begun");
  }
  ++chapters_begun_;
  begin_audio();
}

void BookWriter::write(std::span<const float> samples, const std::string& text) {
  const double begin = seconds(samples_ - file_start_);
  audio_->write(samples);
  samples_ += samples.size();
  if (writing_.shape.subtitles && !text.empty()) {
    cues_.push_back({begin, seconds(samples_ - file_start_), text});
  }
}

void BookWriter::pause(double pause_s) { samples_ += audio_->pause(pause_s); }

double BookWriter::seconds(std::uint64_t samples) const noexcept {
  return static_cast<double>(samples) / storage::source_rate(writing_.format);
}

WrittenBook BookWriter::finish() {
  if (writing_.shape.split_chapters && chapters_begun_ != writing_.chapter_titles.size()) {
    throw std::logic_error("finish: only " + std::to_string(chapters_begun_) + " of " +
                           std::to_string(writing_.chapter_titles.size()) + " chapters have begun");
  }
  end_audio();
  const auto& cover = writing_.tags.cover;
  if (writing_.shape.audiobookshelf && cover) {
    write_file(cover->media_type == "image/png" ? "cover.png" : "cover.jpg", cover->bytes);
  }
  written_.seconds = seconds(samples_);
  return std::move(written_);
}

} // namespace audiobookd::daemon
