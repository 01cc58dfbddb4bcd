// See acx_levels.h.
#include "daemon/acx_levels.h"

#include "daemon/acx.h"
#include "daemon/voice_level.h"

#include <algorithm>
#include <cmath>

namespace audiobookd::daemon {
namespace {

/// What resampling, coding and decoding may add to a peak; where it is more, the file is encoded again.
constexpr double codec_headroom_db = 0.5;
/// So far inside of its limits an RMS may stay, and is brought to when it is not inside.
constexpr double rms_margin_db = 0.2;
constexpr double rms_reserve_db = 0.5;
constexpr double peak_reserve_db = 0.1;
/// Where the limiter is at work it takes up to half of what is added.
constexpr double limiter_share = 2;

} // namespace

storage::LevelSettings acx_levels(double rms_dbfs) {
  const double gain_db = std::isfinite(rms_dbfs) ? AcxAims::rms_dbfs - rms_dbfs : 0;
  return {.gain_db = std::clamp(gain_db, -most_gain_db, most_gain_db),
          .ceiling_dbtp = AcxLimits::most_peak_dbfs - codec_headroom_db};
}

std::optional<storage::LevelSettings> acx_correction(const storage::LevelSettings& used,
                                                     const storage::DecodedAudio& decoded) {
  const double rms = decoded.levels.rms_dbfs();
  if (!std::isfinite(rms)) {
    return std::nullopt;
  }
  const double peak = std::max(20 * std::log10(decoded.levels.peak()), decoded.levels.true_peak_dbtp());
  const bool is_limited = used.ceiling_dbtp && peak > *used.ceiling_dbtp - codec_headroom_db;
  storage::LevelSettings next = used;
  if (rms < AcxLimits::least_rms_dbfs + rms_margin_db) {
    const double missing_db = AcxLimits::least_rms_dbfs + rms_reserve_db - rms;
    next.gain_db += is_limited ? limiter_share * missing_db : missing_db;
  } else if (rms > AcxLimits::most_rms_dbfs - rms_margin_db) {
    next.gain_db += AcxLimits::most_rms_dbfs - rms_reserve_db - rms;
  }
  next.gain_db = std::clamp(next.gain_db, -most_gain_db, most_gain_db);
  if (peak > AcxLimits::most_peak_dbfs) {
    *next.ceiling_dbtp -= peak - AcxLimits::most_peak_dbfs + peak_reserve_db;
  }
  const bool is_same = next.gain_db == used.gain_db && next.ceiling_dbtp == used.ceiling_dbtp;
  return is_same ? std::nullopt : std::optional(next);
}

} // namespace audiobookd::daemon
