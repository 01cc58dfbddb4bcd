// Renders the sentences as a book of their own, ahead of others.
#include "daemon/voice_level.h"

#include "daemon/assembler.h"
#include "daemon/utterance_edges.h"
#include "storage/levels.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace audiobookd::daemon {
namespace {

constexpr std::string_view sentences =
    "The road went down to the harbour, past the old mill and the empty market. Nobody had seen the boat come in, and "
    "nobody asked whose it was.\n\n"
    "\u201cIt will be light in an hour,\u201d he said, \u201cand then we shall know.\u201d In the morning the sea was "
    "calm, the rain had stopped, and the lamp was still burning.";

constexpr int before_all_books = -1;

} // namespace

storage::Levels voice_levels(const Studio& studio, const BookOptions& options, const std::stop_token& stop) {
  BookOptions level_options = options;
  level_options.is_interactive = true; // its book waits for it
  const jobs::Document document = jobs::parse_document(sentences, "level.txt");
  const auto book = std::make_shared<const Book>(plan_book(document, level_options, studio.renderer));
  const auto ticket = studio.pool.open(book, before_all_books, std::make_shared<BookProgress>());
  const int sample_rate = studio.renderer.info().sample_rate;
  PieceReader reader(*book, *ticket, studio.store, sample_rate);
  std::vector<float> sound;
  for (const PlannedUtterance& utterance : book->utterances) {
    StoredPiece piece = reader.read(utterance.piece, stop);
    const auto heard = trim_edges(piece.samples, sample_rate);
    sound.insert(sound.end(), heard.begin(), heard.end());
    sound.resize(sound.size() + static_cast<std::size_t>(utterance.pause_s * sample_rate));
  }
  return storage::Levels::of(sound, 0, sound.size(), sample_rate);
}

double voice_gain_db(const Studio& studio, const BookOptions& options, double target_lufs,
                     const std::stop_token& stop) {
  return corrected_gain_db(0, voice_levels(studio, options, stop).loudness_lufs(), target_lufs, 0);
}

double corrected_gain_db(double gain_db, double measured_lufs, double target_lufs, double tolerance_lu) {
  const double missing = target_lufs - measured_lufs;
  if (!std::isfinite(missing) || std::abs(missing) <= tolerance_lu) {
    return gain_db;
  }
  return std::clamp(gain_db + missing, -most_gain_db, most_gain_db);
}

} // namespace audiobookd::daemon
