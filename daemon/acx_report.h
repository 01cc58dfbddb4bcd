// What the files of a book of preset acx measure, held against the limits: for people, for programs, for the result.
//
// Everything is measured on the decoded MP3, each file for itself, as the plug-in "ACX Check" for Audacity does: RMS
// and peak of the whole file, noise floor as the RMS of its quietest half second (W. McCown, ACX Check 1.0, 2015:
// https://forum.audacityteam.org, https://plugins.audacityteam.org/analyzers/analysis-plugins#acx-check; later versions
// by S. Daulton: windows of 0.4 s every 0.1 s). Because pauses here are room tone, which has the level that it is
// given, two more measures say what the voice itself brings along: its noise where it does not speak, and its clipped
// samples.
//
// Plain values and pure functions: any thread.
#pragma once

#include "storage/mp3_meter.h"

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// Where in a file something is heard, in seconds.
struct AcxSpan {
  double begin_s = 0;
  double end_s = 0;
};

/// What is known of a file once it is encoded.
struct AcxHearing {
  const storage::DecodedAudio& decoded;
  std::span<const AcxSpan> utterances;
  double clipped_share = 0; ///< of the samples of the voice, before gain and limiter: see clipped_share()
};

/// One number and the limits that it must keep.
struct AcxMeasure {
  std::string name; ///< "rms_dbfs"
  double value = 0; ///< perhaps -infinity
  std::optional<double> least;
  std::optional<double> most;

  [[nodiscard]] bool passes() const noexcept;
};

struct AcxFile {
  std::string name;
  double gain_db = 0; ///< that was applied
  int encodings = 1;  ///< until its levels were right, or could not be made so
  std::vector<AcxMeasure> measures;

  [[nodiscard]] bool passes() const noexcept;
};

struct AcxReport {
  std::vector<AcxFile> files;

  /// Whether all files keep all limits and have one format.
  [[nodiscard]] bool passes() const noexcept;
  [[nodiscard]] bool has_one_format() const;
  /// "02 - One.mp3: noise_floor_dbfs -54.21, at most -60"; one for each measure that fails.
  [[nodiscard]] std::vector<std::string> failures() const;
};

/// In the order of the report; without those that a file of its length does not have.
[[nodiscard]] std::vector<AcxMeasure> measure_acx(const AcxHearing& hearing);

/// The content of acx-report.txt. @param title of the book.
[[nodiscard]] std::string to_text(const AcxReport& report, const std::string& title);
/// The content of acx-report.json.
[[nodiscard]] std::string to_json_file(const AcxReport& report, const std::string& title);
/// The field `acx` of a job's result: pass, files, and the first 50 that failed.
[[nodiscard]] nlohmann::ordered_json to_json(const AcxReport& report);

} // namespace audiobookd::daemon
