// Writing a synthetic checkpoint folder: real file and tensor names, weights by the formula, no download.
//
// Different folders may be written by different threads and processes.
#pragma once

#include "engine/models/chatterbox/config.h"

#include <filesystem>
#include <string_view>

namespace audiobookd::engine::chatterbox {

enum class Preset {
  tiny,      ///< the small dimensions of the recorded reference outputs: about 13 MB, made in a second
  chatterbox ///< the published dimensions: about 3.2 GB
};

/// "tiny" or "chatterbox". @throws std::invalid_argument naming the presets that exist.
[[nodiscard]] Preset parse_preset(std::string_view name);

/// The dimensions of @p preset, marked as synthetic.
[[nodiscard]] Config preset_config(Preset preset);

/// Writes config.json, the three weight files, tokenizer.json and conds.pt. Everything is written into a folder beside
/// @p directory and renamed at the end, so that an interrupted run leaves no checkpoint, only a `….part.…` folder.
/// A synthetic checkpoint that is already there is replaced.
/// @throws std::runtime_error naming the path when @p directory holds anything else, or on an I/O error.
void write_checkpoint(Preset preset, const std::filesystem::path& directory);

} // namespace audiobookd::engine::chatterbox
