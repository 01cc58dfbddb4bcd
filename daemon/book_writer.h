// Writes what is heard of a book into one audio file or one for each chapter, measures the whole, and remembers when
// each utterance is heard. The same calls give the same bytes.
//
// One thread at a time per writer.
#pragma once

#include "daemon/acx_report.h"
#include "daemon/book_description.h"
#include "daemon/book_output.h"
#include "daemon/subtitles.h"
#include "storage/audiobook_writer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// How the files of a book are arranged.
struct BookShape {
  bool split_chapters = false; ///< a file for each chapter
  bool audiobookshelf = false; ///< with the cover beside them
  bool subtitles = false;      ///< WebVTT beside each audio file
  bool listing = false;        ///< a BookListing (book_listing.h) with them

  /// Whether there is more than one file.
  [[nodiscard]] bool is_folder() const noexcept { return split_chapters || audiobookshelf || subtitles; }
};

/// A book of preset acx: each file has room tone under it and at its ends, and levels of its own if need be.
struct AcxWriting {
  double head_s = 0; ///< of room tone before the first utterance of a file
  double tail_s = 0; ///< after its last one, instead of the pause that was asked for
};

struct BookWriting {
  BookShape shape;
  storage::AudioFormat format;
  storage::LevelSettings levels;
  storage::Tags tags; ///< of the book; files of chapters get those of their own besides
  std::vector<std::string> chapter_titles;
  std::optional<AcxWriting> acx = {}; ///< with split_chapters and MP3 only
};

/// When an utterance is heard.
struct HeardUtterance {
  std::size_t file = 0;    ///< index into WrittenBook::files
  std::uint64_t begin = 0; ///< of the first sample, from the beginning of the file, at storage::source_rate()
  std::uint64_t end = 0;   ///< behind the last one
};

/// All of what was written.
struct WrittenBook {
  double seconds = 0;
  std::vector<storage::Chapter> chapters; ///< times from the beginning of the first file
  storage::Levels levels;
  double encode_seconds = 0; ///< CPU time
  std::vector<BookFile> files;
  std::optional<AcxReport> acx;           ///< of preset acx, also in the files acx-report.txt and acx-report.json
  std::vector<HeardUtterance> utterances; ///< in the order of write()
};

class BookWriter {
public:
  /// @p output and @p pool outlive the writer. @throws as AudiobookWriter's constructor.
  BookWriter(BookOutput& output, storage::WorkerPool& pool, BookWriting writing);

  /// The next chapter starts here. @throws as AudiobookWriter::begin_chapter(), and what the output throws.
  void begin_chapter();
  /// Appends an utterance. @param text for the subtitles. @throws as AudiobookWriter::write().
  void write(std::span<const float> samples, const std::string& text);
  /// @throws as AudiobookWriter::pause().
  void pause(double seconds);
  /// After the last utterance of a chapter. @return whether the chapter is to be written again, all of it from its
  /// first utterance, without another begin_chapter(): its file turned out too loud or too quiet. Only with preset acx.
  [[nodiscard]] bool wants_chapter_again();
  /// Completes the files, the cover and subtitles included. Call once, last. @throws as AudiobookWriter::finish().
  WrittenBook finish();

  /// Of all files so far.
  [[nodiscard]] std::uint64_t samples() const noexcept { return samples_; }

private:
  void begin_audio();
  void open_audio();
  void end_audio();
  [[nodiscard]] storage::AudiobookSummary close_audio();
  void keep(const storage::AudiobookSummary& summary);
  void keep_measures(const storage::AudiobookSummary& summary);
  void write_acx_report();
  void write_file(const std::string& name, std::string_view content);
  [[nodiscard]] storage::AudiobookOptions options_of_file() const;
  [[nodiscard]] std::string stem_of_file() const;
  [[nodiscard]] std::string audio_name() const;
  [[nodiscard]] double seconds(std::uint64_t samples) const noexcept;

  BookOutput& output_;
  storage::WorkerPool& pool_;
  const BookWriting writing_;
  std::size_t chapters_begun_ = 0;
  std::optional<storage::AudiobookWriter> audio_; // the file that is written
  storage::Tags tags_;                            // of this file
  std::uint64_t file_start_ = 0;                  // of this file, in samples
  std::vector<Cue> cues_;                         // of this file
  storage::ByteSink* sink_ = nullptr;             // of this file
  storage::LevelSettings levels_;                 // of this file
  int encodings_ = 0;                             // of this file, with this one
  double pause_s_ = 0;                            // of preset acx: asked for, and not written yet
  std::vector<AcxSpan> spans_;                    // of preset acx: the utterances of this file
  double clipped_samples_ = 0;                    // of preset acx: in this file
  std::uint64_t samples_ = 0;
  WrittenBook written_;
};

/// "01 - Title": the name of a chapter's file, without extension. @param index from 0, of @p count; @p title may be
/// empty.
[[nodiscard]] std::string chapter_file_stem(std::size_t index, std::size_t count, const std::string& title);

} // namespace audiobookd::daemon
