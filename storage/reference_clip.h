// A narrator's clip between its file and the models: mono at the two rates that they hear, and what is wrong with it.
// Pure functions; any thread.
#pragma once

#include "storage/wav_file.h"

#include <string>
#include <vector>

namespace audiobookd::storage {

/// The whole clip, mono, at the rates of the models.
struct ReferenceAudio {
  std::vector<float> samples_24khz;
  std::vector<float> samples_16khz;
};

/// As the reference prepares a clip (librosa.load, librosa.resample): the mean of all channels, soxr's HQ quality to
/// 24 kHz, and from there to 16 kHz. @throws std::invalid_argument for a clip without channels or a rate.
[[nodiscard]] ReferenceAudio to_reference_audio(const AudioClip& clip);

/// What can be said of a clip by number.
struct ClipMeasures {
  double seconds = 0;
  double peak = 0;            ///< largest magnitude of any channel; 1 is full scale
  double clipped_seconds = 0; ///< time in runs of at least 3 samples at full scale
  double level_db = 0;        ///< mean power of the loudest 0.4 s, dBFS (a full-scale sine has -3)
  double snr_db = 0; ///< speech over background: the loudest against the quietest tenth of 20 ms frames; <= 100
  double background_pitch =
      0; ///< how periodic the quietest tenth is: 0 noise … 1 a tone (2.5 to 20 ms, as 40 ms frames)
  double mixing_loss_db = 0; ///< what the mean of the channels loses against their power: 0 equal, 3 unrelated; <= 100
};

/// @param audio to_reference_audio() of @p clip.
[[nodiscard]] ClipMeasures measure(const AudioClip& clip, const ReferenceAudio& audio);

/// What a person should know before a clip becomes a voice.
struct Advice {
  bool refuses = false; ///< no voice can come of it
  std::string text;     ///< a sentence with the number and what to do
};

/// Nothing for a good clip. In the order of weight: refusals first.
[[nodiscard]] std::vector<Advice> advise(const ClipMeasures& measures);

} // namespace audiobookd::storage
