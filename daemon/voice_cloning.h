// A narrator's clip made into a voice: judged by number, then prepared by the model. What `audiobookctl voice add` and
// jobs that name a clip have in common. Any thread.
#pragma once

#include "engine/voice_file.h"
#include "storage/wav_file.h"

#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// What turns clips into voices.
struct CloningSettings {
  std::filesystem::path clip_decoder; ///< the program audiobook-clip-decoder
  std::filesystem::path checkpoint;   ///< the model that prepares clips
  std::string device = "cpu";
  int cpu_threads = 0; ///< 0: all cores
};

/// The decoder that is installed beside the program that runs. @throws std::filesystem::filesystem_error
[[nodiscard]] std::filesystem::path installed_clip_decoder();

struct ClonedVoice {
  engine::VoiceFile voice;           ///< of its metadata the model alone
  std::vector<std::string> warnings; ///< what could be better about the clip, a sentence each
};

/// Loads the model's cloning part, prepares @p clip and lets the model go.
/// @param name of the clip in messages. @param exaggeration [0, 2], kept with the voice.
/// @throws storage::PermanentError naming the clip and all reasons by number when no voice can come of it; as
/// engine::VoiceCloner::load().
[[nodiscard]] ClonedVoice clone_voice(const storage::AudioClip& clip, const std::string& name, float exaggeration,
                                      const CloningSettings& settings);

} // namespace audiobookd::daemon
