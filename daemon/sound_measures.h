// What can be told of an utterance's sound without knowing its words. Pure; any thread.
#pragma once

#include <cstddef>
#include <span>

namespace audiobookd::daemon {

/// Of one utterance. Levels are RMS over frames of 10 ms.
struct SoundMeasures {
  double seconds = 0;
  double speech_dbfs = -200; ///< level that the loudest tenth of the frames exceeds
  double end_db = -200;      ///< the last 10 ms relative to speech_dbfs
  double silence_s = 0;      ///< longest stretch inside in which nothing comes within 40 dB of speech_dbfs
  double clipped_share = 0;  ///< of all samples: those in flat tops of three and more, near full scale
  double voiceless_s = 0;    ///< longest stretch of sound, pauses left out, in which there is no pitch
  double voiced_share = 0;   ///< of the frames that are no pause: those with a pitch
};

/// @param samples finite, mono; may be empty.
[[nodiscard]] SoundMeasures measure_sound(std::span<const float> samples, int sample_rate);

/// Of @p samples, those in flat tops of three and more, near full scale; 0 of none.
[[nodiscard]] double clipped_share(std::span<const float> samples);

} // namespace audiobookd::daemon
