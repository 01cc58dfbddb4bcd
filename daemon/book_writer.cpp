// See book_writer.h.
#include "daemon/book_writer.h"

#include "daemon/acx.h"
#include "daemon/acx_levels.h"
#include "daemon/sound_measures.h"
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
  storage::AudiobookOptions options{writing_.format, levels_, writing_.tags, writing_.chapter_titles};
  if (writing_.shape.split_chapters) {
    options.tags.title = writing_.chapter_titles[chapters_begun_ - 1];
    options.tags.album_artist = writing_.tags.author;
    options.tags.track = fmt::format("{}/{}", chapters_begun_, writing_.chapter_titles.size());
    options.chapter_titles.clear();
  }
  if (writing_.acx) {
    options.room_tone = {.level_dbfs = AcxAims::room_tone_dbfs, .seed = chapters_begun_};
    options.measures_decoded = true;
  }
  return options;
}

void BookWriter::begin_audio() {
  file_start_ = samples_;
  levels_ = writing_.levels;
  encodings_ = 0;
  sink_ = &output_.begin_file(audio_name());
  open_audio();
}

/// In the file that has begun, which is empty.
void BookWriter::open_audio() {
  storage::AudiobookOptions options = options_of_file();
  tags_ = options.tags;
  samples_ = file_start_;
  cues_.clear();
  spans_.clear();
  std::erase_if(written_.utterances, [&](const HeardUtterance& heard) { return heard.file == written_.files.size(); });
  clipped_samples_ = 0;
  pause_s_ = 0;
  ++encodings_;
  audio_.emplace(*sink_, pool_, std::move(options));
  if (writing_.acx) {
    samples_ += audio_->pause(writing_.acx->head_s);
  }
}

storage::AudiobookSummary BookWriter::close_audio() {
  if (writing_.acx) {
    samples_ += audio_->pause(writing_.acx->tail_s);
  }
  storage::AudiobookSummary summary = audio_->finish(tags_);
  audio_.reset();
  written_.encode_seconds += summary.encode_seconds;
  return summary;
}

void BookWriter::end_audio() {
  if (audio_) {
    keep(close_audio());
  }
}

bool BookWriter::wants_chapter_again() {
  if (!writing_.acx) {
    return false;
  }
  const storage::AudiobookSummary summary = close_audio();
  const auto better = encodings_ < most_acx_encodings ? acx_correction(levels_, summary.decoded.value()) : std::nullopt;
  if (!better) {
    keep(summary);
    return false;
  }
  levels_ = *better;
  sink_->clear();
  open_audio();
  return true;
}

void BookWriter::keep_measures(const storage::AudiobookSummary& summary) {
  double spoken_s = 0;
  for (const AcxSpan& span : spans_) {
    spoken_s += span.end_s - span.begin_s;
  }
  const double spoken_samples = std::max(1.0, spoken_s * storage::source_rate(writing_.format));
  const AcxHearing hearing{summary.decoded.value(), spans_, clipped_samples_ / spoken_samples};
  if (!written_.acx) {
    written_.acx.emplace();
  }
  written_.acx->files.push_back({audio_name(), levels_.gain_db, encodings_, measure_acx(hearing)});
}

/// Puts the file that is complete among those that were written.
void BookWriter::keep(const storage::AudiobookSummary& summary) {
  const std::string stem = stem_of_file();
  if (writing_.acx) {
    keep_measures(summary);
  }
  written_.levels.add(summary.levels);
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

void BookWriter::write_acx_report() {
  const AcxReport& report = written_.acx.value();
  write_file("acx-report.txt", to_text(report, writing_.tags.title));
  write_file("acx-report.json", to_json_file(report, writing_.tags.title));
}

void BookWriter::begin_chapter() {
  if (!writing_.shape.split_chapters) {
    audio_->begin_chapter();
    return;
  }
  end_audio();
  if (chapters_begun_ == writing_.chapter_titles.size()) {
    throw std::logic_error("begin_chapter: all " + std::to_string(chapters_begun_) + " chapters have begun");
  }
  ++chapters_begun_;
  begin_audio();
}

void BookWriter::write(std::span<const float> samples, const std::string& text) {
  samples_ += audio_->pause(std::exchange(pause_s_, 0));
  const double begin = seconds(samples_ - file_start_);
  const std::uint64_t first = samples_ - file_start_;
  audio_->write(samples);
  samples_ += samples.size();
  written_.utterances.push_back({written_.files.size(), first, samples_ - file_start_});
  if (writing_.acx) {
    spans_.push_back({begin, seconds(samples_ - file_start_)});
    clipped_samples_ += clipped_share(samples) * static_cast<double>(samples.size());
  }
  if (writing_.shape.subtitles && !text.empty()) {
    cues_.push_back({begin, seconds(samples_ - file_start_), text});
  }
}

void BookWriter::pause(double pause_s) {
  if (writing_.acx) {
    pause_s_ += pause_s; // the last one of a file is not written
    return;
  }
  samples_ += audio_->pause(pause_s);
}

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
  if (writing_.acx) {
    write_acx_report();
  }
  written_.seconds = seconds(samples_);
  return std::move(written_);
}

} // namespace audiobookd::daemon
