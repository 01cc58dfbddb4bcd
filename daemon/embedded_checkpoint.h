// The checkpoint that is used when none is configured: the embedded voice, which comes with the program. Any thread.
#pragma once

#include <filesystem>

namespace audiobookd::daemon {

/// Text for people who are about to hear it.
inline constexpr const char* embedded_checkpoint_notice = "no model is given: reading with the embedded voice, small "
                                                          "and plain; README.md says how to get the published model";

/// Where installing puts the embedded voice, seen from the folder of the program.
inline constexpr const char* installed_checkpoint = "../share/audiobookd/models/embedded";

/// The folder of the embedded voice: where it was installed with the program, else in the sources.
/// @param program_folder of the program that runs.
/// @param source_folder with the sources that it was built from; they may be gone.
/// @throws std::runtime_error naming both places when it is at neither.
[[nodiscard]] std::filesystem::path find_embedded_checkpoint(const std::filesystem::path& program_folder,
                                                             const std::filesystem::path& source_folder);

/// The same for this program. @throws std::runtime_error as well.
[[nodiscard]] std::filesystem::path embedded_checkpoint();

} // namespace audiobookd::daemon
