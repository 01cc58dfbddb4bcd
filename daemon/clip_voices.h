// Voices of clips that jobs name: each prepared once, and kept in a folder under a name that follows from the clip's
// content and the model. What is kept can be deleted at any time.
//
// Any thread; preparing is one clip after the other, on the thread that asks.
#pragma once

#include "daemon/voice_cloning.h"
#include "engine/engine.h"
#include "storage/storage.h"

#include <filesystem>
#include <mutex>
#include <stop_token>
#include <string>

namespace audiobookd::daemon {

class ClipVoices {
public:
  /// Largest file that is read as a clip.
  static constexpr std::uint64_t max_bytes = std::uint64_t{128} << 20;

  /// @param folder for prepared voices; made when the first one is kept.
  ClipVoices(std::filesystem::path folder, CloningSettings settings)
      : folder_(std::move(folder)), settings_(std::move(settings)) {}

  /// The voice of the clip that is input @p name of @p storage, prepared by the model of @p info, with the exaggeration
  /// that the reference takes by default. A kept file that is damaged is made again.
  /// @return with warnings about the clip when it was prepared now; none when it was kept.
  /// @throws storage::PermanentError when no voice can come of it: as Storage::read_input(), decode_in_child() and
  /// clone_voice(), and for a model that cannot clone; storage::TransientError as well; Interrupted or
  /// storage::StoppedError when @p stop was requested before preparing began.
  [[nodiscard]] ClonedVoice voice_of(const storage::Storage& storage, const std::string& name,
                                     const engine::EngineInfo& info, const std::stop_token& stop) const;

private:
  [[nodiscard]] ClonedVoice prepare(const std::string& content, const std::string& name) const;

  const std::filesystem::path folder_;
  const CloningSettings settings_;
  mutable std::mutex mutex_; // one clip at a time: each loads the model's cloning part
};

} // namespace audiobookd::daemon
