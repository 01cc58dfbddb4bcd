// A program of the user's that listens: it gets an utterance's WAV and text and answers how well they agree.
//
// It is started once for each utterance, without a shell, in a process group of its own, and gets one JSON object on
// its standard input: {"wav": PATH, "text": TEXT, "sample_rate": HZ, "seconds": S}. The file is mono, 32-bit float, and
// gone when the program has ended. It writes {"score": X} to its standard output, X from 0 (nothing of the text is
// heard) to 1, and ends with status 0. When its time is over the whole group is killed.
//
// All functions may be called from any thread, several at once.
#pragma once

#include "engine/utterance.h"

#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::daemon {

struct GateCommandSettings {
  std::vector<std::string> command; ///< the program, looked up in PATH, and its arguments
  double timeout_s = 30;
  double min_score = 0.7; ///< a smaller one is a finding; [0, 1]
  int processes = 1;      ///< at the same time, at most
};

class GateCommand {
public:
  explicit GateCommand(GateCommandSettings settings) : settings_(std::move(settings)) {}

  /// Blocks until the program has ended. @throws std::runtime_error saying what is wrong: it cannot be started, took
  /// too long, failed, or answered something else. Interrupted when @p stop is requested.
  [[nodiscard]] double score(const engine::Waveform& waveform, const std::string& text,
                             const std::stop_token& stop) const;
  [[nodiscard]] const GateCommandSettings& settings() const noexcept { return settings_; }

private:
  const GateCommandSettings settings_;
};

} // namespace audiobookd::daemon
