// Looking for the embedded voice.
#include "daemon/embedded_checkpoint.h"

#include <stdexcept>

namespace audiobookd::daemon {

std::filesystem::path find_embedded_checkpoint(const std::filesystem::path& program_folder,
                                               const std::filesystem::path& source_folder) {
  const std::filesystem::path installed = (program_folder / installed_checkpoint).lexically_normal();
  const std::filesystem::path source = source_folder / "models/embedded";
  for (const std::filesystem::path& folder : {installed, source}) {
    if (std::filesystem::exists(folder / "config.json")) {
      return folder;
    }
  }
  throw std::runtime_error("the embedded voice is neither in '" + installed.string() + "' nor in '" + source.string() +
                           "': install it, or name a checkpoint");
}

std::filesystem::path embedded_checkpoint() {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  return find_embedded_checkpoint(program.parent_path(), AUDIOBOOKD_SOURCE_DIR);
}

} // namespace audiobookd::daemon
