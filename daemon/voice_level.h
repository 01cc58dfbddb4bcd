// How much louder or quieter a voice is to be made. Measured on a few sentences that say nothing, the same ones always:
// their audio lies in the chunk store like any other, so they are rendered once for a voice and its settings.
//
// Blocks; belongs to the thread of one book.
#pragma once

#include "daemon/book_renderer.h"

#include <stop_token>

namespace audiobookd::daemon {

/// No voice is turned up or down by more than this many decibels: what needs more is no speech.
inline constexpr double most_gain_db = 20;

/// What the sentences measure in the voice of @p options, with its pauses and without a gain. @throws as render_book().
[[nodiscard]] storage::Levels voice_levels(const Studio& studio, const BookOptions& options,
                                           const std::stop_token& stop);

/// The gain in decibels that brings what @p options make of a text to @p target_lufs, as far as can be known without
/// the text; 0 when the voice makes no sound. Their audio is nobody's in the chunk store: it may go, and is rendered
/// again.
/// @throws as render_book().
[[nodiscard]] double voice_gain_db(const Studio& studio, const BookOptions& options, double target_lufs,
                                   const std::stop_token& stop);

/// @p gain_db corrected, when a programme that was made with it measures @p measured_lufs: the same when that is within
/// @p tolerance_lu of the target, or is not finite.
[[nodiscard]] double corrected_gain_db(double gain_db, double measured_lufs, double target_lufs, double tolerance_lu);

} // namespace audiobookd::daemon
