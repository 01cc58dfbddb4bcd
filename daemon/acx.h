// The preset `acx`: what ACX (the Audiobook Creation Exchange) asks of the files of an audiobook, in numbers.
//
// Source: ACX audio submission requirements,
// https://help.acx.com/s/article/what-are-the-acx-audio-submission-requirements
//
// Plain values and pure functions: any thread.
#pragma once

#include "jobs/credits.h"
#include "storage/audio_format.h"

#include <string>

namespace audiobookd::daemon {

/// Bounds, each inclusive, of each file.
struct AcxLimits {
  static constexpr int sample_rate_hz = 44'100;
  static constexpr int least_kbps = 192;
  static constexpr double most_seconds = 120 * 60;
  static constexpr double least_rms_dbfs = -23;
  static constexpr double most_rms_dbfs = -18;
  static constexpr double most_peak_dbfs = -3;
  static constexpr double most_noise_dbfs = -60;
  static constexpr double least_head_s = 0.5; ///< of room tone before the first word
  static constexpr double most_head_s = 1;
  static constexpr double least_tail_s = 1; ///< of room tone after the last word
  static constexpr double most_tail_s = 5;
};

/// What the preset makes: in the middle of the limits, once short files with long pauses are among the others.
struct AcxAims {
  static constexpr double rms_dbfs = -19.5;
  static constexpr double room_tone_dbfs = -70;
  static constexpr double head_s = 0.75;
};

/// What a book of this preset says of itself, with placeholders (jobs/credits.h).
struct AcxCredits {
  std::string opening = jobs::default_opening_credits;
  std::string closing = jobs::default_closing_credits;
};

/// The format of the preset with what @p wanted leaves open: MP3, 44.1 kHz, a constant bit rate of 192 kbit/s or more.
/// @throws storage::PermanentError naming the option of @p wanted that contradicts it.
[[nodiscard]] storage::FormatOptions acx_format(const storage::FormatOptions& wanted);

/// The pause after a chapter as the end of a file: as near to it as the limits allow, in seconds.
[[nodiscard]] double acx_tail_s(double chapter_pause_s) noexcept;

} // namespace audiobookd::daemon
