// WebVTT (W3C) of what is read, for listeners who read along.
//
// Plain values and a pure function: any thread.
#pragma once

#include <string>
#include <vector>

namespace audiobookd::daemon {

/// An utterance.
struct Cue {
  double begin_s = 0;
  double end_s = 0;
  std::string text; ///< UTF-8 without line breaks
};

/// The content of a .vtt file.
[[nodiscard]] std::string to_webvtt(const std::vector<Cue>& cues);

} // namespace audiobookd::daemon
