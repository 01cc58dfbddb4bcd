// See acx.h.
#include "daemon/acx.h"

#include "storage/errors.h"

#include <algorithm>

namespace audiobookd::daemon {
namespace {

[[noreturn]] void reject(const std::string& option, const std::string& expected) {
  throw storage::PermanentError(option + " contradicts the preset acx; valid: " + expected);
}

} // namespace

storage::FormatOptions acx_format(const storage::FormatOptions& wanted) {
  if (wanted.codec != storage::Codec::mp3) {
    reject(wanted.codec == storage::Codec::flac ? "codec flac" : "codec opus", "mp3");
  }
  if (wanted.sample_rate.value_or(AcxLimits::sample_rate_hz) != AcxLimits::sample_rate_hz) {
    reject("sample_rate " + std::to_string(*wanted.sample_rate), std::to_string(AcxLimits::sample_rate_hz));
  }
  if (wanted.vbr_quality) {
    reject("vbr_quality " + std::to_string(*wanted.vbr_quality), "a constant bit rate (bitrate_kbps)");
  }
  if (wanted.bitrate_kbps.value_or(AcxLimits::least_kbps) < AcxLimits::least_kbps) {
    reject("bitrate_kbps " + std::to_string(*wanted.bitrate_kbps), "192 224 256 320");
  }
  storage::FormatOptions format = wanted;
  format.sample_rate = AcxLimits::sample_rate_hz;
  format.bitrate_kbps = wanted.bitrate_kbps.value_or(AcxLimits::least_kbps);
  return format;
}

double acx_tail_s(double chapter_pause_s) noexcept {
  return std::clamp(chapter_pause_s, AcxLimits::least_tail_s, AcxLimits::most_tail_s);
}

} // namespace audiobookd::daemon
