// Whether an utterance was rendered as it should be: each gate measures one thing and has a bound; what is out of
// bounds is a finding. Pure functions, no threads.
//
// The defaults were measured (bench/NOTES.md, audiobook-gate-check).
#pragma once

#include "daemon/alignment_summary.h"
#include "engine/utterance.h"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// Bounds, each inclusive. Expected is the length that Engine::predict_tokens() says, rough for short texts: hence
/// duration_slack_s, by which an utterance may be shorter or longer besides.
struct GateSettings {
  int max_retries = 2;       ///< of an utterance with findings, each with other random numbers; [0, 10]
  double min_duration = 0.5; ///< times what is expected, at least
  double max_duration = 1.8; ///< times what is expected, at most
  double duration_slack_s = 0.4;
  double max_silence_s = 1.2;      ///< inside
  double max_end_db = -30;         ///< the last 10 ms, relative to the utterance's level: else it is cut off
  double max_clipped_share = 1e-3; ///< of the samples
  double min_level_dbfs = -50;     ///< of speech: below, it is silence
  double max_voiceless_s = 0.5;    ///< of sound without a pitch: noise
  double min_voiced_share = 0.2;   ///< of the sound: less is noise
  int max_repeated_tokens = 12;    ///< speech tokens of a run of one, two, three or four that repeat
  double max_skipped_s = 0.45;     ///< of text that was jumped over, as long as it should have been heard
  double max_reread_s = 0.3;       ///< of text that was read twice, as long as it should have been heard
  double max_unread_s = 0.3;       ///< of text at the end that was not read, as long as it should have been heard
  double max_tail_s = 1.2;         ///< of speech after the end of the text
};

/// Something that is out of bounds.
struct Finding {
  std::string gate; ///< for people and scripts: "duration", "silence_inside", "cut_off", …
  double value = 0;
  double bound = 0;
  bool operator==(const Finding&) const = default;
};

/// What was asked for and what the decoder did.
struct Reading {
  int predicted_tokens = 0;
  int tokens_per_second = 25;
  std::span<const std::int32_t> speech_tokens;
  std::optional<AlignmentSummary> alignment; ///< nothing: no head was watched
};

/// A waveform that cannot be used at all: the reason, or empty.
[[nodiscard]] std::string describe_fault(const engine::Waveform& waveform);

/// @param waveform without a fault. @return the findings, in the order of GateSettings.
[[nodiscard]] std::vector<Finding> judge(const engine::Waveform& waveform, const Reading& reading,
                                         const GateSettings& settings);

/// Of takes of the same utterance the one with the smallest is the best; 0 without findings.
[[nodiscard]] double badness_of(const std::vector<Finding>& findings);

/// "duration 3.1 (at most 2.2), cut_off -4.2 (at most -20)"
[[nodiscard]] std::string describe(const std::vector<Finding>& findings);

} // namespace audiobookd::daemon
