// Finding, preparing and keeping.
#include "daemon/clip_voices.h"

#include "daemon/errors.h"
#include "engine/hash128.h"
#include "storage/isolated_decoder.h"

#include <optional>
#include <span>
#include <spdlog/spdlog.h>

namespace audiobookd::daemon {
namespace {

constexpr float default_exaggeration = 0.5F;
constexpr std::uint64_t revision = 1; // raised when the same clip gives another voice

/// A kept voice, unless there is none or its file is damaged.
std::optional<engine::VoiceFile> kept_voice(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) {
    return std::nullopt;
  }
  try {
    return engine::read_voice_file(file);
  } catch (const std::runtime_error& error) {
    spdlog::warn("a kept voice is made again: {}", error.what());
    return std::nullopt;
  }
}

} // namespace

ClonedVoice ClipVoices::voice_of(const storage::Storage& storage, const std::string& name,
                                 const engine::EngineInfo& info, const std::stop_token& stop) const {
  if (!info.cloning) {
    throw storage::PermanentError("'" + name + "' gives no voice: the model declares that it cannot clone");
  }
  const std::lock_guard lock(mutex_);
  if (stop.stop_requested()) {
    throw Interrupted();
  }
  const std::string content = storage.read_input(name, max_bytes, stop);
  const engine::Hash128 source = engine::hash128(std::as_bytes(std::span(content)));
  const engine::Hash128 key = engine::HashBuilder().add(revision).add(info.weights_hash).add(source).finish();
  const std::filesystem::path file = folder_ / (key.hex() + ".safetensors");
  if (auto kept = kept_voice(file)) {
    return {std::move(*kept), {}};
  }
  ClonedVoice cloned = reading_files([&] { return prepare(content, name); });
  cloned.voice.metadata.source_hash = source.hex();
  std::filesystem::create_directories(folder_);
  engine::write_voice_file(file, cloned.voice);
  spdlog::info("clip '{}': prepared and kept in '{}'", name, file.string());
  return cloned;
}

ClonedVoice ClipVoices::prepare(const std::string& content, const std::string& name) const {
  const storage::AudioClip clip = storage::decode_in_child(settings_.clip_decoder, content, name);
  return clone_voice(clip, name, default_exaggeration, settings_);
}

} // namespace audiobookd::daemon
