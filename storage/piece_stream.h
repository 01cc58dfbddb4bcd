// Cuts a stream of samples into pieces at fixed places, which the threads of a pool work on beside each other. What
// they make of them comes back in the order of the stream, and does not depend on how the stream was cut into calls.
//
// One thread at a time per stream; the pool is shared.
#pragma once

#include "storage/errors.h"
#include "storage/worker_pool.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace audiobookd::storage {

/// Lengths in samples.
struct PieceCut {
  std::size_t length = 0; ///< of a piece
  std::size_t before = 0; ///< samples before a piece that it gets to see, but the first; less than length
  std::size_t after = 0;  ///< samples behind a piece that it gets to see, but the last
};

/// Samples of a piece with its neighbourhood.
struct PieceSamples {
  std::vector<float> samples;
  std::size_t before = 0; ///< how many of them are before the piece
  bool is_last = false;   ///< then the piece goes to the end of samples, else it has PieceCut::length of them
};

/// @tparam Result what becomes of a piece.
template <typename Result>
class PieceStream {
public:
  using Work = std::function<Result(PieceSamples)>;
  using Take = std::function<void(Result)>;

  /// @param work runs on threads of @p pool, several at once. @param take gets the results in order, on the thread that
  /// writes. @p pool must outlive the stream.
  PieceStream(const PieceCut& cut, WorkerPool& pool, Work work, Take take)
      : cut_(cut), pool_(pool), work_(std::move(work)), take_(std::move(take)) {}

  /// Waits for the pool when more pieces are outstanding than it has threads, or more than one while other files keep
  /// it busy. @throws PermanentError for a sample that is NaN or infinite, with its position; what work and take throw.
  void write(std::span<const float> samples) {
    while (!samples.empty()) {
      const std::size_t full = before_ + cut_.length + cut_.after;
      const auto part = samples.first(std::min(samples.size(), full - buffer_.size()));
      check_finite(part);
      buffer_.insert(buffer_.end(), part.begin(), part.end());
      samples_written_ += part.size();
      samples = samples.subspan(part.size());
      if (buffer_.size() == full) {
        submit_full_piece();
      }
    }
  }

  /// The rest is the last piece. Call once, last. @throws as write()
  void finish() {
    submit({std::exchange(buffer_, {}), before_, true});
    while (!outstanding_.empty()) {
      take_oldest();
    }
  }

private:
  void check_finite(std::span<const float> samples) const {
    const auto bad = std::find_if_not(samples.begin(), samples.end(), [](float x) { return std::isfinite(x); });
    if (bad != samples.end()) {
      throw PermanentError("encoder: sample " +
                           std::to_string(samples_written_ + static_cast<std::uint64_t>(bad - samples.begin())) +
                           " is not finite");
    }
  }

  void submit(PieceSamples piece) {
    outstanding_.push_back(
        pool_.submit([work = work_, piece = std::move(piece)]() mutable { return work(std::move(piece)); }));
  }

  void submit_full_piece() {
    const std::size_t next_begin = before_ + cut_.length - cut_.before;
    std::vector<float> next;
    next.reserve(buffer_.size()); // about what it will hold: growing by doubling would take twice the memory
    next.assign(buffer_.begin() + static_cast<std::ptrdiff_t>(next_begin), buffer_.end());
    submit({std::exchange(buffer_, std::move(next)), before_, false});
    before_ = cut_.before;
    while (!outstanding_.empty() && (outstanding_.size() > most_outstanding() || is_ready(outstanding_.front()))) {
      take_oldest();
    }
  }

  /// As long as the threads have enough of other files to do, more than one piece of this one would only take memory.
  [[nodiscard]] std::size_t most_outstanding() const { return pool_.is_busy() ? 1 : pool_.num_threads(); }

  static bool is_ready(const std::future<Result>& result) {
    return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  void take_oldest() {
    Result result = outstanding_.front().get();
    outstanding_.pop_front();
    take_(std::move(result));
  }

  const PieceCut cut_;
  WorkerPool& pool_;
  const Work work_;
  const Take take_;
  std::uint64_t samples_written_ = 0;
  std::size_t before_ = 0;    // of the next piece
  std::vector<float> buffer_; // the next piece, with the samples before it
  std::deque<std::future<Result>> outstanding_;
};

} // namespace audiobookd::storage
