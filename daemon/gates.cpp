// One small function a gate.
#include "daemon/gates.h"

#include "daemon/sound_measures.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t longest_period = 4; ///< of tokens that repeat
constexpr double most_excess = 3;         ///< of one finding, in badness

/// Tokens of the longest stretch in which each is the same as the one @p period before.
std::size_t longest_repetition(std::span<const std::int32_t> tokens, std::size_t period) {
  std::size_t run = 0;
  std::size_t longest = 0;
  for (std::size_t i = period; i < tokens.size(); ++i) {
    run = tokens[i] == tokens[i - period] ? run + 1 : 0;
    longest = std::max(longest, run == 0 ? 0 : run + period);
  }
  return longest;
}

std::size_t longest_repetition(std::span<const std::int32_t> tokens) {
  std::size_t longest = 0;
  for (std::size_t period = 1; period <= longest_period; ++period) {
    longest = std::max(longest, longest_repetition(tokens, period));
  }
  return longest;
}

class Judge {
public:
  void at_most(const char* gate, double value, double bound) {
    if (value > bound) {
      findings_.push_back({gate, value, bound});
    }
  }
  void at_least(const char* gate, double value, double bound) {
    if (value < bound) {
      findings_.push_back({gate, value, bound});
    }
  }
  [[nodiscard]] std::vector<Finding> findings() && { return std::move(findings_); }

private:
  std::vector<Finding> findings_;
};

/// Lengths in times what is expected, so that people need no table to understand them.
void judge_duration(Judge& judge, double seconds, const Reading& reading, const GateSettings& settings) {
  const double expected = static_cast<double>(reading.predicted_tokens) / reading.tokens_per_second;
  if (expected <= 0) {
    return;
  }
  const double slack = settings.duration_slack_s / expected;
  judge.at_least("duration", seconds / expected, settings.min_duration - slack);
  judge.at_most("duration", seconds / expected, settings.max_duration + slack);
}

void judge_sound(Judge& judge, const SoundMeasures& sound, const GateSettings& settings) {
  if (sound.speech_dbfs < settings.min_level_dbfs) {
    judge.at_least("silence", sound.speech_dbfs, settings.min_level_dbfs);
    return; // the others would measure the silence
  }
  judge.at_most("silence_inside", sound.silence_s, settings.max_silence_s);
  judge.at_most("cut_off", sound.end_db, settings.max_end_db);
  judge.at_most("clipping", sound.clipped_share, settings.max_clipped_share);
  judge.at_most("noise", sound.voiceless_s, settings.max_voiceless_s);
  judge.at_least("noise", sound.voiced_share, settings.min_voiced_share);
}

void judge_alignment(Judge& judge, const AlignmentSummary& alignment, const Reading& reading,
                     const GateSettings& settings) {
  const double seconds_per_step = 1.0 / reading.tokens_per_second;
  const double seconds_per_position = reading.predicted_tokens * seconds_per_step / std::max(1, alignment.text_length);
  judge.at_most("skipped_text", alignment.skipped * seconds_per_position, settings.max_skipped_s);
  judge.at_most("repeated_text", alignment.reread * seconds_per_position, settings.max_reread_s);
  judge.at_most("unread_end", alignment.unread * seconds_per_position, settings.max_unread_s);
  judge.at_most("late_end", alignment.tail * seconds_per_step, settings.max_tail_s);
}

/// How far out of bounds; 1 is twice as far as allowed, or half. Of decibels 20 count as much.
double excess_of(const Finding& finding) {
  constexpr double decibels = 20;
  const double excess = finding.bound < 0 ? std::abs(finding.value - finding.bound) / decibels
                        : finding.value > finding.bound
                            ? (finding.bound > 0 ? finding.value / finding.bound - 1 : most_excess)
                            : (finding.value > 0 ? finding.bound / finding.value - 1 : most_excess);
  return std::min(excess, most_excess);
}

} // namespace

std::string describe_fault(const engine::Waveform& waveform) {
  if (waveform.samples.empty()) {
    return "the engine delivered no samples";
  }
  const auto bad = std::ranges::find_if(waveform.samples, [](float sample) { return !std::isfinite(sample); });
  if (bad == waveform.samples.end()) {
    return {};
  }
  return "sample " + std::to_string(bad - waveform.samples.begin()) + " is not a finite number";
}

std::vector<Finding> judge(const engine::Waveform& waveform, const Reading& reading, const GateSettings& settings) {
  const SoundMeasures sound = measure_sound(waveform.samples, waveform.sample_rate);
  Judge judge;
  judge_duration(judge, sound.seconds, reading, settings);
  judge_sound(judge, sound, settings);
  judge.at_most("repeated_tokens", static_cast<double>(longest_repetition(reading.speech_tokens)),
                settings.max_repeated_tokens);
  judge.at_most("token_limit", waveform.hit_token_limit ? 1 : 0, 0);
  if (reading.alignment) {
    judge_alignment(judge, *reading.alignment, reading, settings);
  }
  return std::move(judge).findings();
}

double badness_of(const std::vector<Finding>& findings) {
  double badness = 0;
  for (const Finding& finding : findings) {
    badness += 1 + excess_of(finding);
  }
  return badness;
}

std::string describe(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    text += fmt::format("{}{} {:.3g} (at {} {:.3g})", text.empty() ? "" : ", ", finding.gate, finding.value,
                        finding.value > finding.bound ? "most" : "least", finding.bound);
  }
  return text;
}

} // namespace audiobookd::daemon
