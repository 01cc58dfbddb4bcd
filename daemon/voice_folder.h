// The voices that people added: a folder with one file each, NAME.safetensors. Nothing is kept in memory, so whoever
// looks sees what another program added a moment ago. Any thread.
#pragma once

#include "daemon/renderer.h"
#include "engine/voice_file.h"

#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::daemon {

class VoiceFolder {
public:
  /// @param folder made when the first voice is added.
  explicit VoiceFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// @throws std::invalid_argument for a name that no job could carry: not 1 to 128 of A-Z a-z 0-9 _ . - , beginning
  /// with a dot, or "default", which the checkpoint's own voice has.
  static void check_name(const std::string& name);

  /// Sorted; empty when there is no folder.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] bool contains(const std::string& name) const;
  /// Where the voice's file lies or would lie.
  [[nodiscard]] std::filesystem::path path(const std::string& name) const;
  /// @throws std::runtime_error naming the voice that there is not, or as engine::read_voice_file().
  [[nodiscard]] engine::VoiceFile read(const std::string& name) const;
  /// Stores @p voice under its metadata's name, in one step for whoever looks.
  /// @throws std::runtime_error when there is one and @p replace is false, or it cannot be written.
  void add(const engine::VoiceFile& voice, bool replace) const;
  /// @throws std::runtime_error naming the voice that there is not, or that cannot be removed.
  void remove(const std::string& name) const;

private:
  void check_exists(const std::string& name) const;

  std::filesystem::path folder_;
};

/// What @p renderer calls the voice that people call @p name: one of @p folder as it is now, which is made known to the
/// renderer, or else @p name itself. @throws storage::PermanentError for a file that is no voice, TransientError when
/// it cannot be read now; std::invalid_argument for a voice of another model.
[[nodiscard]] std::string renderer_voice(const VoiceFolder& folder, const std::string& name, Renderer& renderer);

} // namespace audiobookd::daemon
