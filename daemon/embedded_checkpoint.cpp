// write_checkpoint() leaves a whole folder or none, so that its config.json tells that all of it is there.
#include "daemon/embedded_checkpoint.h"

#include "engine/models/chatterbox/make_checkpoint.h"

namespace audiobookd::daemon {

std::filesystem::path embedded_checkpoint(const std::filesystem::path& cache) {
  std::filesystem::path folder = cache / "checkpoints" / "tiny";
  if (!std::filesystem::exists(folder / "config.json")) {
    std::filesystem::create_directories(folder.parent_path());
    engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, folder);
  }
  return folder;
}

} // namespace audiobookd::daemon
