// How far a book is: counted by the utterance pool (stored) and by the book's writer (written), read by whoever tells
// people about it. All functions may be called from any thread.
#pragma once

#include "daemon/book.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace audiobookd::daemon {

class BookProgress {
public:
  using Clock = std::chrono::steady_clock;

  /// When the book was taken up.
  [[nodiscard]] Clock::time_point begun() const noexcept { return begun_; }

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
  /// The book's first utterance is in the store now.
  void set_first_audio() noexcept {
    first_audio_ms_ = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun_).count();
  }
  void add_written(std::int64_t tokens, double audio_seconds_so_far) noexcept {
    written_ += tokens;
    audio_seconds_ = audio_seconds_so_far;
  }

  /// Half for what is in the chunk store, half for what is written, by predicted tokens; in [0, 1].
  [[nodiscard]] double fraction() const noexcept {
    return (share(stored_, to_store_) + share(written_, to_write_)) / 2;
  }
  /// How long after begun() set_first_audio() was called, if it was.
  [[nodiscard]] std::optional<std::chrono::milliseconds> first_audio() const noexcept {
    const std::int64_t after = first_audio_ms_;
    return after < 0 ? std::nullopt : std::optional(std::chrono::milliseconds(after));
  }
  /// Of audio, written so far.
  [[nodiscard]] double audio_seconds() const noexcept { return audio_seconds_; }

private:
  [[nodiscard]] static double share(std::int64_t part, std::int64_t whole) noexcept {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  }
  const Clock::time_point begun_ = Clock::now();
  std::atomic<std::int64_t> to_store_{0};
  std::atomic<std::int64_t> to_write_{0};
  std::atomic<std::int64_t> stored_{0};
  std::atomic<std::int64_t> written_{0};
  std::atomic<double> audio_seconds_{0};
  std::atomic<std::int64_t> first_audio_ms_{-1};
};

} // namespace audiobookd::daemon
