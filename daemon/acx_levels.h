// How loud the files of a book of preset acx are made: all by the gain of the voice, and one that is out of bounds all
// the same by one of its own.
//
// Pure functions: any thread.
#pragma once

#include "storage/levels.h"
#include "storage/mp3_meter.h"

#include <optional>

namespace audiobookd::daemon {

/// A file is encoded so often at most.
inline constexpr int most_acx_encodings = 4;

/// For a voice whose sentences measure @p rms_dbfs; -infinity: it makes no sound.
[[nodiscard]] storage::LevelSettings acx_levels(double rms_dbfs);

/// What is to be used instead of @p used, with which a file turned out as @p decoded: as little more or less gain as
/// brings its RMS within the limits, a lower ceiling where it has peaks above them. Nothing: it is within them, or
/// silent.
[[nodiscard]] std::optional<storage::LevelSettings> acx_correction(const storage::LevelSettings& used,
                                                                   const storage::DecodedAudio& decoded);

} // namespace audiobookd::daemon
