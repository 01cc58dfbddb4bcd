// A narrator from a clip: reference audio in, everything that T3 and S3Gen are conditioned on out. std types only.
//
// The models that do it are a part of the checkpoint that rendering does not need; they are loaded here alone, and go
// away with the VoiceCloner. One thread at a time per VoiceCloner; it may run beside an Engine.
#pragma once

#include "engine/voice_file.h"

#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace audiobookd::engine {

/// A clip of one speaker as the models hear it, mono, nominally in [-1, 1]: the whole clip at both rates. The reference
/// resamples with soxr's HQ quality to 24 kHz, and from there to 16 kHz.
struct ReferenceClip {
  std::span<const float> samples_24khz;
  std::span<const float> samples_16khz; ///< ceil(2/3 of the other), or one less
};

class VoiceCloner {
public:
  /// Shortest clip that prepare() takes.
  static constexpr double min_seconds = 1;

  /// Loads the models from a checkpoint folder: `ve.safetensors` and a part of `s3gen.safetensors`.
  /// @param device as EngineOptions::device. @param cpu_threads for CPU arithmetic; 0: all cores.
  /// @throws std::runtime_error naming file, tensor or field, as Engine::load() does; a model that declares that it
  /// cannot clone is one, too.
  static std::unique_ptr<VoiceCloner> load(const std::filesystem::path& checkpoint, const std::string& device = "cpu",
                                           int cpu_threads = 0);
  ~VoiceCloner();
  VoiceCloner(const VoiceCloner&) = delete;
  VoiceCloner& operator=(const VoiceCloner&) = delete;

  /// Computes what the reference's prepare_conditionals does. @param exaggeration [0, 2], kept with the voice.
  /// @throws std::invalid_argument saying what is wrong with the clip: shorter than min_seconds, lengths that do not
  /// belong together, samples that are not finite, no speaker that the voice encoder hears.
  [[nodiscard]] VoiceConditionals prepare(const ReferenceClip& clip, float exaggeration = 0.5f) const;

  /// The model, as EngineInfo::model calls it; says so when its weights are synthetic.
  [[nodiscard]] std::string model() const;

private:
  class Impl;
  explicit VoiceCloner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace audiobookd::engine
