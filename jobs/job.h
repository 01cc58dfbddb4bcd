// What is to be rendered: one job, read from the JSON that a producer put into the queue.
//
// Plain values and a pure function: any thread.
#pragma once

#include "jobs/book_metadata.h"
#include "jobs/document/chapter_selection.h"
#include "jobs/spoken_text/dictionary.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Newest job format (field `v`) that this version understands.
inline constexpr int job_version = 1;

/// Longest JSON text of a job.
inline constexpr std::size_t max_job_bytes = 4u << 20;

/// Deepest nesting of objects and arrays in a job.
inline constexpr int max_job_depth = 8;

/// The job itself is wrong: trying again cannot help. The message is for the person who wrote the job; it names the
/// field, what was found and what was expected.
class JobError : public std::runtime_error {
public:
  /// @param id the job's own `id` as far as it could be read, or empty.
  explicit JobError(const std::string& message, std::string id = {});
  [[nodiscard]] const std::string& id() const noexcept { return id_; }

private:
  std::string id_;
};

/// The job is written in a newer format than this version knows: it is left to newer workers, not buried.
class JobVersionError : public std::runtime_error {
public:
  JobVersionError(int version, std::string id);
  [[nodiscard]] int version() const noexcept { return version_; }
  [[nodiscard]] const std::string& id() const noexcept { return id_; }

private:
  int version_;
  std::string id_;
};

/// What happens when the output exists already.
enum class IfExists { fail, replace, skip };

/// Who waits for a job.
enum class JobClass {
  book,       ///< nobody: it shares the machine for the most speed altogether
  interactive ///< somebody who wants to hear its beginning soon, before the books' next utterances
};

/// How the voice speaks. An absent value is the model's default. Ranges are inclusive unless said otherwise.
struct JobParams {
  std::optional<float> exaggeration;       ///< [0, 2]
  std::optional<float> cfg_weight;         ///< [0, 5]
  std::optional<float> temperature;        ///< (0, 5]
  std::optional<float> repetition_penalty; ///< [1, 10]
  std::optional<float> min_p;              ///< [0, 1]
  std::optional<int> top_k;                ///< [0, 10000]; 0: off
  std::optional<float> top_p;              ///< (0, 1]
  std::optional<int> cfm_steps;            ///< [1, 100]
  std::uint64_t seed = 0;
};

/// The file to make. What is absent is the daemon's default.
struct JobFormat {
  std::string preset;              ///< "acx": as the shops behind ACX want it; "none": no preset; empty: the daemon's
  std::string codec;               ///< mp3, flac or opus; empty: see codec_of()
  std::optional<int> sample_rate;  ///< MP3, FLAC, in Hz: 24000, 44100 or 48000
  std::optional<int> bitrate_kbps; ///< MP3: constant, 8 to 160 at 24 kHz, else 32 to 320, and among those of layer III.
                                   ///< Opus: 6 to 256
  std::optional<int> vbr_quality;  ///< MP3, instead of bitrate_kbps: LAME's -V, 0 (best) to 9
  std::optional<int> id3v2_version; ///< MP3: 3 or 4
};

/// How the files of a book are arranged. What is absent is the daemon's default.
struct JobFiles {
  std::optional<bool> split_chapters; ///< a file for each chapter, else one
  std::optional<bool> audiobookshelf; ///< in a folder as Audiobookshelf reads it
  std::optional<bool> subtitles;      ///< WebVTT beside each audio file
  std::optional<bool> listing;        ///< which utterance is heard when, for proof-listening

  /// Whether the job itself says so much that its output is a folder.
  [[nodiscard]] bool make_folder() const noexcept {
    return split_chapters.value_or(false) || audiobookshelf.value_or(false) || subtitles.value_or(false);
  }
};

/// What the voice says before and after the book, with placeholders (credits.h). Empty: the daemon's.
struct JobCredits {
  std::string opening;
  std::string closing;
};

/// Silence after an utterance, by what follows it. An absent value is the daemon's default. [0, 10000] ms each.
struct JobPauses {
  std::optional<int> sentence_ms;
  std::optional<int> paragraph_ms;
  std::optional<int> scene_ms;
  std::optional<int> chapter_ms;
};

/// What is to be heard at one place of a book instead of what would be heard there.
struct RedoneUtterance {
  std::size_t number = 0;            ///< the place, from 1, in reading order
  std::string key;                   ///< of the listing: of what would be heard there
  std::optional<std::uint64_t> seed; ///< instead of the job's
  std::optional<std::string> text;   ///< instead of the document's
  std::optional<int> take;           ///< this attempt and no other, [0, most_takes)
  int takes = 0;                     ///< attempts that somebody has asked for or heard so far, [0, most_takes]
};

/// Takes of an utterance that may be asked for.
inline constexpr int most_takes = 100;

/// What is to be done anew in a book that is rendered again.
struct Redo {
  std::optional<double> gain_db;           ///< that the book was written with, [-60, 60]; nothing: it is found anew
  std::vector<RedoneUtterance> utterances; ///< each place once
};

/// A job whose every field was checked. Paths are syntactically safe (relative or `s3://BUCKET/KEY`, no `..`, no NUL);
/// that they stay inside the configured roots, also when links are followed, is checked where they are opened.
struct Job {
  int v = job_version;
  std::string id;                  ///< `[A-Za-z0-9_.-]{1,128}`
  std::optional<std::string> text; ///< UTF-8, not blank. Either this or input
  std::string input;               ///< path below the input root, or URL below one; empty when text is set
  std::string output;              ///< path below the output roots, perhaps with placeholders (output_name.h)
  IfExists if_exists = IfExists::fail;
  std::string title;
  std::string author;
  BookMetadata metadata;
  std::string cover;             ///< path below the input roots of a picture; empty: the document's
  std::string language = "en";   ///< BCP 47
  std::optional<bool> normalize; ///< whether numbers, abbreviations and the like are read as words
  Words dictionary;              ///< how words are said; before the worker's
  std::string voice;             ///< empty: the daemon's default, or that of the clip
  std::string voice_clip;        ///< path below the input roots of a clip that the voice is made of; empty: none
  std::string model;             ///< empty: whatever the daemon has loaded
  JobParams params;
  JobFormat format;
  JobFiles files;
  JobCredits credits;                 ///< of preset acx
  std::vector<ChapterRange> chapters; ///< to read; empty: all
  JobPauses pauses;
  Redo redo;
  JobClass job_class = JobClass::book;
  int max_attempts = 3;                     ///< [1, 100]
  std::optional<std::int64_t> not_before_s; ///< Unix time
  std::string idempotency_key;              ///< same alphabet as id, or empty
};

/// Reads and checks a job.
/// @param json the value of the stream entry's field `job`.
/// @param entry_id the stream entry's id, which names a job that has no id of its own.
/// @throws JobError if the text is longer than max_job_bytes, nests deeper than max_job_depth, is not JSON, or a field
/// is unknown, missing, of the wrong type, out of range, or known but not supported yet.
/// @throws JobVersionError if `v` is newer than job_version; no other field is looked at then, except `id`.
[[nodiscard]] Job parse_job(std::string_view json, std::string_view entry_id);

/// The job's codec: what it says, else what the name of its output ends in (.mp3, .flac, .opus); else empty.
[[nodiscard]] std::string codec_of(const Job& job);

/// True if @p id may name a job: `[A-Za-z0-9_.-]{1,128}`.
[[nodiscard]] bool is_valid_job_id(std::string_view id) noexcept;

} // namespace audiobookd::jobs
