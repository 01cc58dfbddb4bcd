// How far a book is: counted by the utterance pool (stored) and by the book's writer (written), read by whoever tells
// people about it. All functions may be called from any thread.
#pragma once

#include "daemon/book.h"

#include <atomic>
#include <cstdint>

namespace audiobookd::daemon {

class BookProgress {
public:
  /// Before anything else: what is to be done.
  void plan(const Book& book) noexcept {
    for (const Piece& piece : book.pieces) {
      to_store_ += piece.predicted_tokens;
    }
    for (const PlannedUtterance& utterance : book.utterances) {
      to_write_ += book.pieces[utterance.piece].predicted_tokens;
    }
  }
  void add_stored(std::int64_t tokens) noexcept { stored_ += tokens; }
  void add_written(std::int64_t tokens, double audio_seconds_so_far) noexcept {
    written_ += tokens;
    audio_seconds_ = audio_seconds_so_far;
  }

  /// Half for what is in the chunk store, half for what is written, by predicted tokens; in [0, 1].
  [[nodiscard]] double fraction() const noexcept {
    return (share(stored_, to_store_) + share(written_, to_write_)) / 2;
  }
  /// Of audio, written so far.
  [[nodiscard]] double audio_seconds() const noexcept { return audio_seconds_; }

private:
  [[nodiscard]] static double share(std::int64_t part, std::int64_t whole) noexcept {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  }
  std::atomic<std::int64_t> to_store_{0};
  std::atomic<std::int64_t> to_write_{0};
  std::atomic<std::int64_t> stored_{0};
  std::atomic<std::int64_t> written_{0};
  std::atomic<double> audio_seconds_{0};
};

} // namespace audiobookd::daemon
