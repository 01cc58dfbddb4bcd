// The checkpoint that is used when none is configured: tiny, synthetic, made on the spot. Any thread.
#pragma once

#include <filesystem>

namespace audiobookd::daemon {

/// Text for people who are about to hear it.
inline constexpr const char* embedded_checkpoint_notice =
    "no model is given: using the embedded synthetic one, which speaks noise";

/// The folder of the tiny synthetic checkpoint below @p cache, written at first use (13 MB, about a second).
/// @throws std::runtime_error naming a path that cannot be written.
[[nodiscard]] std::filesystem::path embedded_checkpoint(const std::filesystem::path& cache);

} // namespace audiobookd::daemon
