// The checkpoint of process.h, written by the engine.
#include "engine/models/chatterbox/make_checkpoint.h"
#include "tests/daemon/fakes.h"
#include "tests/daemon/process.h"

namespace audiobookd::daemon::testing {

const std::filesystem::path& tiny_checkpoint() {
  static const TemporaryFolder folder;
  static const std::filesystem::path checkpoint = [] {
    std::filesystem::path path = folder.path() / "tiny";
    engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, path);
    return path;
  }();
  return checkpoint;
}

} // namespace audiobookd::daemon::testing
