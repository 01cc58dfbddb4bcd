// From decoded samples to a voice.
#include "daemon/voice_cloning.h"

#include "engine/voice_cloner.h"
#include "storage/errors.h"
#include "storage/reference_clip.h"

#include <stdexcept>

namespace audiobookd::daemon {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw storage::PermanentError("'" + name + "' gives no voice: " + why);
}

/// What could be better. @throws storage::PermanentError with all reasons for which the clip cannot be used.
std::vector<std::string> judge(const std::string& name, const storage::ClipMeasures& measures) {
  std::vector<std::string> warnings;
  std::string refusals;
  for (const storage::Advice& advice : storage::advise(measures)) {
    if (advice.refuses) {
      refusals += (refusals.empty() ? "" : "; ") + advice.text;
    } else {
      warnings.push_back(advice.text);
    }
  }
  if (!refusals.empty()) {
    refuse(name, refusals);
  }
  return warnings;
}

} // namespace

std::filesystem::path installed_clip_decoder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "audiobook-clip-decoder";
}

ClonedVoice clone_voice(const storage::AudioClip& clip, const std::string& name, float exaggeration,
                        const CloningSettings& settings) {
  const storage::ReferenceAudio audio = storage::to_reference_audio(clip);
  ClonedVoice cloned;
  cloned.warnings = judge(name, storage::measure(clip, audio));
  const auto cloner = engine::VoiceCloner::load(settings.checkpoint, settings.device, settings.cpu_threads);
  cloned.voice.metadata.model = cloner->model();
  try {
    cloned.voice.conditionals = cloner->prepare({audio.samples_24khz, audio.samples_16khz}, exaggeration);
  } catch (const std::invalid_argument& error) {
    refuse(name, error.what());
  }
  return cloned;
}

} // namespace audiobookd::daemon
