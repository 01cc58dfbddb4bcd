// `audiobookd render`: one book without a queue, through the same pipeline as the daemon's jobs.
//
// Blocks; one call at a time per output file.
#pragma once

#include "daemon/book_renderer.h"
#include "engine/engine.h"
#include "storage/audio_format.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace audiobookd::daemon {

struct RenderOptions {
  std::filesystem::path input;
  std::optional<std::string> text; ///< read instead of the input
  std::string only;                ///< chapters, as parse_chapter_ranges() reads them; empty: all
  std::filesystem::path output;    ///< of a book in several files their folder; perhaps with placeholders
  std::filesystem::path chunk_store;
  std::filesystem::path voices; ///< folder of the voices that people added; empty: none
  BookOptions book;
  storage::FormatOptions format;
  std::optional<LoudnessTarget> loudness = LoudnessTarget(); ///< nothing: as loud as the voice is
  GateOptions gates;                                         ///< nothing: every utterance is taken as it comes
  bool replace = false;                                      ///< an output that exists
  BookShape shape = {};
  std::filesystem::path cover = {}; ///< empty: the document's
  jobs::BookMetadata metadata = {}; ///< before what the document says
  std::string title = {};
  std::string author = {};
  std::optional<AcxCredits> acx = {}; ///< preset acx; loudness does not count then
};

/// Where a command speaks to.
struct Terminal {
  std::ostream& out;    ///< results
  std::ostream& status; ///< progress
  bool draws_bar = false;
};

/// Renders @p options.input, or its text, to @p options.output. Chunks are kept in the store: a second run renders what
/// changed.
/// @param load makes the renderer, after all that can be checked without it was checked.
/// @throws std::runtime_error: the output exists and is not to be replaced, or cannot be what it is called; the cover
/// is none; whatever ends a rendering. Interrupted when @p stop was requested; what was finished is kept.
BookReport render_file(const RenderOptions& options, const std::function<std::unique_ptr<Renderer>()>& load,
                       const Terminal& terminal, std::stop_token stop);

/// What was done, in a few lines.
[[nodiscard]] std::string summarise(const BookReport& report);

} // namespace audiobookd::daemon
